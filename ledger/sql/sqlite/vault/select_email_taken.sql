select exists (select 1 from accounts where email_ref = ?1 and id <> ?2)

-- those that are in the way
delete from accounts
where is_recorded = 0 and created_at < ?3 and (username_ref = ?1 or email_ref = ?2)

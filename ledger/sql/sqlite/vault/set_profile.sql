update accounts set wrapped_profile = ?2, email_ref = ?3 where id = ?1 and is_recorded = 1

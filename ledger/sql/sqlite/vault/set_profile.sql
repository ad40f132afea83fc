-- what it was decided by still stands there
update accounts set wrapped_profile = ?3, email_ref = ?4 where id = ?1 and wrapped_profile = ?2 and is_recorded = 1

update accounts set wrapped_password = ?3 where id = ?1 and wrapped_password = ?2

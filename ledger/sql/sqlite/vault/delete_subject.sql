delete from subjects where id = ?1

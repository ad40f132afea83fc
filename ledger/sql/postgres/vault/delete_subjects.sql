delete from subjects where id = any ($1)

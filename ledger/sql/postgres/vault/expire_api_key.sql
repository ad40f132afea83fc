-- a key that expires earlier anyway keeps its time
update api_keys
set expires_at = case when expires_at < $2 then expires_at else $2 end
where id = $1

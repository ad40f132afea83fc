select id, issuer from api_keys where id = any($1)
union all
select id, issuer from accounts where id = any($1)

select issuer from api_keys where id = ?1
union all
select issuer from accounts where id = ?1

-- how far each is from the current one, which is 0: those before it are retired, one after it waits
select keys.did, keys.number - current.number as place
from issuers
join issuer_keys as current on current.did = issuers.did
join issuer_keys as keys on keys.issuer = issuers.id
where issuers.id = $1
order by keys.number

-- another process may have been faster: what stands there counts
insert into issuer_keys (did, issuer, number, wrapped_signing_key)
select $2, issuers.id, current.number + 1, $3
from issuers
join issuer_keys as current on current.did = issuers.did
where issuers.id = $1
on conflict on constraint issuer_keys_number do nothing

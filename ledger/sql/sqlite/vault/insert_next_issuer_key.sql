insert into issuer_keys (did, issuer, number, wrapped_signing_key)
select ?2, issuers.id, current.number + 1, ?3
from issuers
join issuer_keys as current on current.did = issuers.did
where issuers.id = ?1

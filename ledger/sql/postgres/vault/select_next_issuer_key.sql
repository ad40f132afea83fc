select next.did
from issuers
join issuer_keys as current on current.did = issuers.did
join issuer_keys as next on next.issuer = issuers.id and next.number = current.number + 1
where issuers.id = $1

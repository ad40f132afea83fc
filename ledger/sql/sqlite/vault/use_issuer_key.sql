-- keys are used in the order in which they were made: a retired one never comes back
update issuers
set did = ?2
where id = ?1 and exists (
  select 1
  from issuer_keys as wanted
  join issuer_keys as current on current.did = issuers.did
  where wanted.did = ?2 and wanted.issuer = issuers.id and wanted.number > current.number
)

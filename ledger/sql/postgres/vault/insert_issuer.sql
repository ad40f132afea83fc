-- another process may have been faster: what stands there counts
with made as (
    insert into issuers (id, name, did, wrapped_sealing_key)
    values ($1, $2, $3, $5)
    on conflict on constraint issuers_name do nothing
    returning id, did
)
insert into issuer_keys (did, issuer, number, wrapped_signing_key)
select made.did, made.id, 0, $4 from made

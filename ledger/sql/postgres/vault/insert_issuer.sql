-- another process may have been faster: what stands there counts
insert into issuers (id, name, did, wrapped_signing_key, wrapped_sealing_key)
values ($1, $2, $3, $4, $5)
on conflict on constraint issuers_name do nothing

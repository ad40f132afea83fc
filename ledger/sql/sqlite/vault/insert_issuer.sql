insert into issuers (id, name, did, wrapped_signing_key, wrapped_sealing_key)
values (?1, ?2, ?3, ?4, ?5)

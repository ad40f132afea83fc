insert into issuers (id, name, did, wrapped_sealing_key)
values (?1, ?2, ?3, ?4)

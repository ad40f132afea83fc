insert into issuer_keys (did, issuer, number, wrapped_signing_key)
values (?1, ?2, 0, ?3)

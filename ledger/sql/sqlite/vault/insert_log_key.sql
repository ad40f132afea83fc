insert into log_keys (log, number, public_key, wrapped_signing_key, created_at)
values (?1, ?2, ?3, ?4, ?5)

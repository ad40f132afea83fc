-- another process may have been faster: what stands there counts
insert into log_keys (log, number, public_key, wrapped_signing_key, created_at)
values ($1, $2, $3, $4, $5)
on conflict on constraint log_keys_number do nothing

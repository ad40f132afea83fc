-- another process may have been faster: what stands there counts
insert into settings (origin_base, lookup_keys) values ($1, $2)
on conflict on constraint settings_singleton do nothing

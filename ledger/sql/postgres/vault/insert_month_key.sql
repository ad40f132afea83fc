-- another process may have been faster: what stands there counts
insert into month_keys (month, wrapped_key) values ($1, $2)
on conflict on constraint month_keys_month do nothing

-- another process may have been faster: what stands there counts. a month whose key was destroyed has a row, too, and gets no other
insert into month_keys (month, wrapped_key) values ($1, $2)
on conflict on constraint month_keys_month do nothing

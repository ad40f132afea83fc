-- the rows stay, without a key: they keep the months from ever getting another one
insert into month_keys (month, wrapped_key)
select month, ''::bytea from unnest($1::text[]) as forgotten (month)
on conflict on constraint month_keys_month do update set wrapped_key = excluded.wrapped_key where length(month_keys.wrapped_key) > 0

-- the row stays, without a key: it keeps the month from ever getting another one
insert into month_keys (month, wrapped_key) values (?1, x'')
on conflict (month) do update set wrapped_key = excluded.wrapped_key where length(month_keys.wrapped_key) > 0

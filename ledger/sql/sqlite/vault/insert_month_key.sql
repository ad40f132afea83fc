-- a month whose key was destroyed has a row and gets no other
insert into month_keys (month, wrapped_key) values (?1, ?2) on conflict (month) do nothing

insert into tiles (level, number, hashes)
values (?1, ?2, ?3)
on conflict (level, number) do update set hashes = excluded.hashes

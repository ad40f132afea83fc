insert into unique_keys (key, stream, position)
values (?1, ?2, ?3)
on conflict (key) do update set stream = excluded.stream, position = excluded.position

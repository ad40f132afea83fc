insert into checkpoint_guard (log, note)
values (?1, ?2)
on conflict (log) do update set note = excluded.note

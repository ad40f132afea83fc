insert into workers (instance, name, role, version, started_at, last_seen_at, cursors, master_keys)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
on conflict (instance) do update
set name = excluded.name,
    role = excluded.role,
    version = excluded.version,
    started_at = excluded.started_at,
    last_seen_at = excluded.last_seen_at,
    cursors = excluded.cursors,
    master_keys = excluded.master_keys

-- not from "excluded", whose columns one may read only with the right to read the table's
insert into workers (instance, name, role, version, started_at, last_seen_at, cursors, master_keys)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict on constraint workers_instance do update
set name = $2, role = $3, version = $4, started_at = $5, last_seen_at = $6, cursors = $7, master_keys = $8

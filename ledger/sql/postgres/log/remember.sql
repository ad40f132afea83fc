insert into idempotency (key, command, position, recorded_at)
select key, command, position, recorded_at
from unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) as row (key, command, position, recorded_at)
on conflict on constraint idempotency_key
    do update set command = excluded.command, position = excluded.position, recorded_at = excluded.recorded_at

update sessions set ended_at = $2 where account = $1 and ended_at is null and id is distinct from $3

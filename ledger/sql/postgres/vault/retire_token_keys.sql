update token_keys set retired_at = $1 where retired_at is null and created_at < $1

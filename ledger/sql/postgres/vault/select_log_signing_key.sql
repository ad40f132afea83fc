select number, public_key, wrapped_signing_key from log_keys where log = $1 order by number desc limit 1

select stream, position from unique_keys where key = $1

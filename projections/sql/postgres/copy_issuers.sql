copy issuers_{generation} (position, id, name, did, registered_at) from stdin with (format binary)

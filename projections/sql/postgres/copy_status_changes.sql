copy status_changes_{generation} (position, credential, recorded_at, state) from stdin with (format binary)

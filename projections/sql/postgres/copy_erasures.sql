copy erasures_{generation} (position, subject_id, recorded_at) from stdin with (format binary)

select instance, name, role, version, started_at, last_seen_at, cursors, master_keys
from workers
where last_seen_at >= $1
order by name collate "C", started_at, instance

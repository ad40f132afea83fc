delete from workers where last_seen_at < $1

-- for a login that may not take a row away: it counts as long unseen, and is forgotten by whoever may
update workers set last_seen_at = 0 where instance = $1

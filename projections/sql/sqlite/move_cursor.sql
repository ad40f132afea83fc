-- Compare and set: whoever believes in another position, or writes to a generation that was replaced, is fenced off.
update cursor
set position = ?2, chain_hash = ?3, head_seen = ?4, confirmed_at = max(confirmed_at, coalesce(?5, 0)), unhealthy = null
where position is ?1 and stage <> 'retired';

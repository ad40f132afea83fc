-- Compare and set: whoever believes in another position, or writes to a generation that was replaced, is fenced off. The row
-- stays locked until the rows that belong to the new position are committed with it.
update cursors
set position = $4, chain_hash = $5, head_seen = $6, confirmed_at = greatest(confirmed_at, coalesce($7, 0)), unhealthy = null
where projection = $1 and generation = $2 and position is not distinct from $3 and stage <> 'retired';

update cursors
set head_seen = $4, confirmed_at = greatest(confirmed_at, coalesce($5, 0))
where projection = $1 and generation = $2 and position is not distinct from $3 and stage <> 'retired'
returning generation;

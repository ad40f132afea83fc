update cursors
set unhealthy = $4
where projection = $1 and generation = $2 and position is not distinct from $3 and stage <> 'retired'
returning generation;

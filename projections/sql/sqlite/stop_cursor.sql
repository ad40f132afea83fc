update cursor set unhealthy = ?2 where position is ?1 and stage <> 'retired';

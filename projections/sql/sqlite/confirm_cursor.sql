update cursor
set head_seen = ?2, confirmed_at = max(confirmed_at, coalesce(?3, 0))
where position is ?1 and stage <> 'retired';

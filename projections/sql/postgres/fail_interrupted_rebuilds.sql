-- Called by whoever holds the projection's rebuild lock: nobody else can be at work.
update rebuilds
set phase = 'failed', failure = 'it was interrupted', updated_at = $2
where projection = $1 and phase not in ('done', 'failed');

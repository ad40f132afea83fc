select coalesce(array_agg(position order by position), '{}'), coalesce(array_agg(event_hash order by position), '{}')
from (select position, event_hash from events where position >= $1 order by position limit $2) as page

-- One row of arrays is read in a fraction of the time of many rows.
select
    coalesce(array_agg(key), '{}') as keys,
    coalesce(array_agg(stream), '{}') as streams,
    coalesce(array_agg(position), '{}') as positions
from (select key, stream, position from unique_keys where key >= $1 order by key limit $2) as page

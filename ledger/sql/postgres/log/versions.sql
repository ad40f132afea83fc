-- In the order in which the index stands. After a change of the server's collations that order can be another than the one it is
-- searched by: then a row comes before the one before it. One row of arrays is read in a fraction of the time of many rows.
select
    coalesce(array_agg(stream), '{}') as streams,
    coalesce(array_agg(version), '{}') as versions,
    coalesce(array_agg(position), '{}') as positions,
    coalesce(bool_and(grows), true) as grows
from (
    select
        stream,
        version,
        position,
        (stream, version) >= (lag(stream, 1, $1::text) over listed, lag(version, 1, $2::bigint) over listed) as grows
    from events
    where (stream, version) > ($1, $2)
    window listed as (order by stream, version)
    order by stream, version
    limit $3
) as page

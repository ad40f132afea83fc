-- In the order in which the index stands. After a change of the server's collations that order can be another than the one it is
-- searched by: then a row does not come after the one before it.
select
    stream,
    version,
    position,
    (stream, version) > (lag(stream, 1, $1::text) over listed, lag(version, 1, $2::bigint) over listed) as grows
from events
where (stream, version) > ($1, $2)
window listed as (order by stream, version)
order by stream, version
limit $3

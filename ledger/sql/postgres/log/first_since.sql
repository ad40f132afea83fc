-- The first position recorded at $1 or later, or the log's size, and that size: a binary search, since recorded_at never decreases.
with recursive search (low, high, size) as (
    select 0::bigint, head.size, head.size from head
    union all
    select
        case when events.recorded_at < $1 then events.position + 1 else search.low end,
        case when events.recorded_at < $1 then search.high else events.position end,
        search.size
    from search
    join events on events.position = (search.low + search.high) / 2
    where search.low < search.high
)
select low, size from search where low = high

-- The log's end; the time when the statement arrived; and whether a commit may be in flight that took its time before that and is
-- not seen here. An appender's lock puts its transaction's id into the row's xmax at once, for everybody to see, and leaves it there.
-- So whoever locks after the row was looked at takes a later time, and whoever locked before is told by the id: gone, or completed
-- before this snapshot, or in flight. On a standby anything may have been committed that it has not heard of.
with head_row as materialized (
    select
        origin,
        size,
        chain_hash,
        recorded_at,
        -- looked at once: it may change meanwhile
        xmax::text::bigint as locked_by,
        pg_snapshot_xmax(pg_current_snapshot())::text::bigint as snapshot_end
    from head
),
-- a row holds an id's low 32 bits; the half of the circle before the snapshot's end is older than it, the other half is newer
aged as (
    select head_row.*, (snapshot_end - locked_by) & 4294967295 as age from head_row
)
select
    origin,
    size,
    chain_hash,
    recorded_at,
    (extract(epoch from statement_timestamp()) * 1000000)::bigint as now,
    case
        when pg_is_in_recovery() then true
        when locked_by = 0 then false
        when age not between 1 and 2147483647 then true
        else not pg_visible_in_snapshot((snapshot_end - age)::text::xid8, pg_current_snapshot())
    end as in_flight
from aged

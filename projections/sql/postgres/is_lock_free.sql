-- A key of 64 bits is shown as two halves (PostgreSQL's documentation, pg_locks).
select not exists (
    select 1
    from pg_locks
    where locktype = 'advisory'
      and database = (select oid from pg_database where datname = current_database())
      and objsubid = 1
      and (classid::bigint << 32) | objid::bigint = $1
);

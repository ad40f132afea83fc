-- A bounded piece, so that no append waits for long.
delete from idempotency
where sequence in (
    select sequence
    from (select sequence, recorded_at from idempotency order by sequence limit 1000)
    where recorded_at < ?1
)

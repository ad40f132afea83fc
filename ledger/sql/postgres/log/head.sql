-- the time when the statement arrived: its snapshot is younger, so nothing that was committed then is missing
select origin, size, chain_hash, recorded_at, (extract(epoch from statement_timestamp()) * 1000000)::bigint as now from head

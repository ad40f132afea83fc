-- Held to the end of the transaction: "create table if not exists" fails when two run at once.
select pg_advisory_xact_lock($1);

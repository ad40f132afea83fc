-- Held as long as the session lives. It belongs to the database, by whatever name one came to it.
select pg_try_advisory_lock($1)

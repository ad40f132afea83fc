-- Held as long as the session lives.
select pg_try_advisory_lock($1);

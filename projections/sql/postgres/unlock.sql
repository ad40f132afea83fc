-- Asked for, because a server notices the end of a session in its own time.
select pg_advisory_unlock_all();

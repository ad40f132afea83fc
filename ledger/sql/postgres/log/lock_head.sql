-- a statement of its own: what is checked afterwards must be seen by a snapshot that is younger than the lock
select size from head for update

-- Gives every credential whose state changed after ?1 the state of its last change.
update credentials
set (state, status_changed_at) = (
    select s.state, s.recorded_at from status_changes s where s.credential = credentials.id order by s.position desc limit 1
)
where id in (select s.credential from status_changes s where s.position > ?1);

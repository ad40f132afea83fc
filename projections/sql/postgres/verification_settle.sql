-- Gives every credential whose state changed after $1 the state of its last change.
update credentials_{generation} c
set state = s.state, status_changed_at = s.recorded_at
from (
    select distinct on (credential) credential, state, recorded_at
    from status_changes_{generation}
    where position > $1
    order by credential, position desc
) s
where c.id = s.credential;

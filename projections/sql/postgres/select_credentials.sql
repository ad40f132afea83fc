select position, id, type, issuer, subject_id, digest, valid_from, valid_until, issued_at, issued_by, state, status_changed_at
from credentials_{generation}
where position > $1
order by position
limit $2;

select position, id, issuer, subject_id, digest
from erased_credentials_{generation}
where position > $1
order by position
limit $2;

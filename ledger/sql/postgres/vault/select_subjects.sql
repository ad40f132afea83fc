select subjects.id, subjects.issuer, subjects.name_ref, subjects.email_ref, subjects.wrapped_key
from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as wanted (issuer, name_ref, email_ref)
join subjects on subjects.email_ref = wanted.email_ref and subjects.name_ref = wanted.name_ref and subjects.issuer = wanted.issuer

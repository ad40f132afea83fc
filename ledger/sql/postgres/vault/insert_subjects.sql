-- Each with a key of its own that was made beforehand; who is there already is left out. In one order, so that two such statements do
-- not lock each other out.
insert into subjects (id, issuer, name_ref, email_ref, wrapped_key)
select id, issuer, name_ref, email_ref, wrapped_key
from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::bytea[]) as row (id, issuer, name_ref, email_ref, wrapped_key)
order by email_ref, name_ref, issuer
on conflict on constraint subjects_refs do nothing
returning id

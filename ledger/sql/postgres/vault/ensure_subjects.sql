-- Those that are there, and those that are made here, each with a key of its own that was made beforehand. What another process
-- makes at the same time is in neither. In one order, so that two such statements do not lock each other out.
with wanted as (
    select id, issuer, name_ref, email_ref, wrapped_key
    from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bytea[], $5::bytea[]) as row (id, issuer, name_ref, email_ref, wrapped_key)
),
found as (
    select subjects.id, subjects.issuer, subjects.name_ref, subjects.email_ref, subjects.wrapped_key
    from wanted
    join subjects
        on subjects.email_ref = wanted.email_ref and subjects.name_ref = wanted.name_ref and subjects.issuer = wanted.issuer
),
made as (
    insert into subjects (id, issuer, name_ref, email_ref, wrapped_key)
    select id, issuer, name_ref, email_ref, wrapped_key
    from wanted
    where not exists (
        select from found
        where found.email_ref = wanted.email_ref and found.name_ref = wanted.name_ref and found.issuer = wanted.issuer
    )
    order by email_ref, name_ref, issuer
    on conflict on constraint subjects_refs do nothing
    returning id, issuer, name_ref, email_ref, wrapped_key
)
select id, issuer, name_ref, email_ref, wrapped_key from found
union all
select id, issuer, name_ref, email_ref, wrapped_key from made

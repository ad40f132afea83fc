-- Takes away all but what must be known of the credentials of whoever was erased after $1. What is recorded of such a credential, or of
-- such a subject, after its erasure goes the same way, so that rows do not depend on how the events were brought in: of a generation
-- being loaded ($1 is -1) all erasures are new.
with subjects as (
    select e.subject_id from erasures_{generation} e where e.position > $1
    union
    select c.subject_id
    from credentials_{generation} c
    join erasures_{generation} e on e.subject_id = c.subject_id
    where $1 >= 0 and c.position > $1
    union
    select x.subject_id
    from status_changes_{generation} s
    join erased_credentials_{generation} x on x.id = s.credential
    where $1 >= 0 and s.position > $1
),
gone as (
    delete from credentials_{generation} c
    using subjects d
    where c.subject_id = d.subject_id
    returning c.position, c.id, c.issuer, c.subject_id, c.digest
),
kept as (
    insert into erased_credentials_{generation} (position, id, issuer, subject_id, digest)
    select position, id, issuer, subject_id, digest from gone
)
delete from status_changes_{generation} s
using (
    select id from gone
    union all
    select x.id from erased_credentials_{generation} x join subjects d on d.subject_id = x.subject_id
) i
where s.credential = i.id;

-- Whose credentials are to be taken away: whoever was erased after ?1. What is recorded of such a credential, or of such a subject,
-- after its erasure goes the same way, so that rows do not depend on how the events were brought in: of a generation being loaded
-- (?1 is -1) all erasures are new.
select subject_id from erasures where position > ?1
union
select e.subject_id
from credentials c
cross join erasures e on e.subject_id = c.subject_id
where ?1 >= 0 and c.position > ?1
union
select x.subject_id
from status_changes s
cross join erased_credentials x on x.id = s.credential
where ?1 >= 0 and s.position > ?1;

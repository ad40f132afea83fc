-- The first event after ?1 that cannot have happened: its issuer or credential is not there yet, or its id is there already. Of a
-- generation being loaded (?1 is -1) nothing has been erased yet.
select min(position)
from (
    select i.position
    from issuers i
    where i.position > ?1 and exists (select 1 from issuers j where j.id = i.id and j.position < i.position)
    union all
    select c.position
    from credentials c
    where c.position > ?1
      and (not exists (select 1 from issuers i where i.id = c.issuer and i.position < c.position)
           or exists (select 1 from credentials d where d.id = c.id and d.position < c.position))
    union all
    select s.position
    from status_changes s
    where s.position > ?1
      and not exists (select 1 from credentials c where c.id = s.credential and c.position < s.position)
      and not exists (select 1 from erased_credentials x where x.id = s.credential and x.position < s.position)
    union all
    select c.position
    from credentials c
    where ?1 >= 0 and c.position > ?1
      and exists (select 1 from erased_credentials x where x.id = c.id and x.position < c.position)
);

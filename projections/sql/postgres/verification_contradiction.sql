-- The first event after $1 that cannot have happened: its issuer or credential is not there yet, or its id is there already. Of a
-- generation being loaded ($1 is -1) nothing has been erased yet.
select min(position)
from (
    select i.position
    from issuers_{generation} i
    where i.position > $1 and exists (select 1 from issuers_{generation} j where j.id = i.id and j.position < i.position)
    union all
    select c.position
    from credentials_{generation} c
    where c.position > $1
      and (not exists (select 1 from issuers_{generation} i where i.id = c.issuer and i.position < c.position)
           or exists (select 1 from credentials_{generation} d where d.id = c.id and d.position < c.position))
    union all
    select s.position
    from status_changes_{generation} s
    where s.position > $1
      and not exists (select 1 from credentials_{generation} c where c.id = s.credential and c.position < s.position)
      and not exists (select 1 from erased_credentials_{generation} x where x.id = s.credential and x.position < s.position)
    union all
    select c.position
    from credentials_{generation} c
    where $1 >= 0 and c.position > $1
      and exists (select 1 from erased_credentials_{generation} x where x.id = c.id and x.position < c.position)
) as first;

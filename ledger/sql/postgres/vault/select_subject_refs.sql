select subjects.issuer, subjects.name_ref, subjects.email_ref
from unnest($1::uuid[]) with ordinality as wanted (id, place)
left join subjects on subjects.id = wanted.id
order by wanted.place

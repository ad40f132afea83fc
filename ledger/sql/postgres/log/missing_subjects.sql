-- Those of these subjects that are not in the vault of this database.
select named.id
from unnest($1::uuid[]) as named (id)
where not exists (select from vault.subjects where vault.subjects.id = named.id)

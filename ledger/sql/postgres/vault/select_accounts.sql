select
  a.id, a.issuer, a.roles, a.wrapped_profile, a.created_at, a.deactivated_at
from accounts as a
where a.is_recorded = 1 and ($1::uuid is null or a.issuer = $1) and ($2::uuid is null or a.id < $2)
order by a.id desc
limit $3

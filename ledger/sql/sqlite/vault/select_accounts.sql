select
  a.id, a.issuer, a.roles, a.wrapped_profile, a.created_at, a.deactivated_at
from accounts as a
where a.is_recorded = 1 and (?1 is null or a.issuer = ?1) and (?2 is null or a.id < ?2)
order by a.id desc
limit ?3

select
  k.id, k.prefix, k.roles, k.issuer, k.types, k.name, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
  i.deactivated_at is null as of_active
from api_keys as k inner join issuers as i on i.id = k.issuer
where
  (?1 is null or k.issuer = ?1) and (?2 is null or substr(k.prefix, 1, length(?2)) = ?2) and (?3 is null or k.id < ?3)
order by k.id desc
limit ?4

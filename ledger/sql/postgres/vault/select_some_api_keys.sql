select
    k.id, k.prefix, k.roles, k.issuer, k.types, k.name, k.created_at, k.expires_at, k.last_used_at, k.revoked_at,
    i.deactivated_at is null as of_active
from api_keys as k inner join issuers as i on i.id = k.issuer
where
    ($1::uuid is null or k.issuer = $1) and ($2::text is null or starts_with(k.prefix, $2)) and ($3::uuid is null or k.id < $3)
order by k.id desc
limit $4

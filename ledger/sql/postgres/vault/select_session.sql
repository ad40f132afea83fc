select
    s.id, s.account, a.issuer, a.roles, a.deactivated_at is null and i.deactivated_at is null as of_active, s.expires_at, s.ended_at
from sessions as s
inner join accounts as a on a.id = s.account
inner join issuers as i on i.id = a.issuer
where s.id = $1

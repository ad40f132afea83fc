select
    a.id, a.issuer, a.roles, a.wrapped_profile, a.created_at, a.deactivated_at,
    a.wrapped_password, i.deactivated_at is null as of_active
from accounts as a inner join issuers as i on i.id = a.issuer
where (a.username_ref = $1 or a.email_ref = $1) and a.is_recorded = 1

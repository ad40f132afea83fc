select
    a.id, a.issuer, a.roles, a.wrapped_profile, a.created_at, a.deactivated_at
from accounts as a
where a.id = $1 and a.is_recorded = 1

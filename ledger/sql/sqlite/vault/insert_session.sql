insert into sessions (id, account, wrapped_agent, created_at, refreshed_at, expires_at)
select ?1, id, ?3, ?4, ?4, ?5
from accounts
where id = ?2 and wrapped_password = ?6 and deactivated_at is null and is_recorded = 1

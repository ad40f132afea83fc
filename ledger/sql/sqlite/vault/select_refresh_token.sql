select t.session, t.used_at is not null or s.ended_at is not null or s.expires_at <= ?2 as is_over
from refresh_tokens as t
inner join sessions as s on s.id = t.session
where t.hash = ?1

select id, name, did, deactivated_at is null as is_active, display_name, url, deactivated_at
from issuers
where $1::uuid is null or id < $1
order by id desc
limit $2

select key, stream, position
from unique_keys
where key >= ?1
order by key
limit ?2

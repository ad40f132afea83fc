select max(version)
from events
where stream = ?1

-- All three stand in the index on (stream, version): the table is not touched. How many are wanted is known while they are read.
select stream, version, position
from events
where (stream, version) > (?1, ?2)
order by stream, version

select number, size, note
from checkpoints
order by number desc
limit 1

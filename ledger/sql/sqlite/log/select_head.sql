select origin, size, chain_hash, recorded_at
from head
where id = 1

select size
from tree
where id = 1

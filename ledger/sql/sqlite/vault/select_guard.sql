select note
from checkpoint_guard
where log = ?1

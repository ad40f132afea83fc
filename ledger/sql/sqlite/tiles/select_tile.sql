select hashes
from tiles
where level = ?1 and number = ?2

select level, number, hashes
from tiles
where (level, number) > ($1, $2)
order by level, number
limit $3

select tiles.level, tiles.number, tiles.hashes
from unnest($1::smallint[], $2::bigint[]) as wanted (level, number)
join tiles on tiles.level = wanted.level and tiles.number = wanted.number

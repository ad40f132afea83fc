update cursors
set serving = true, digest = $3, digest_position = $4
where projection = $1
  and generation = $2
  and not exists (select 1 from cursors other where other.projection = $1 and other.serving);

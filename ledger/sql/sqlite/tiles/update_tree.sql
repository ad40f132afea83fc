update tree
set size = ?2
where id = 1 and size = ?1

-- Compare and set: ?6 must still be the one that serves.
update serving
set generation = ?2, version = ?3, digest = ?4, digest_position = ?5
where projection = ?1 and generation = ?6;

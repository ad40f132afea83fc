-- Compare and set: it must still be the one that serves.
update cursors set serving = false, stage = 'retired' where projection = $1 and generation = $2 and serving;

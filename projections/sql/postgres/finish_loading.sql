-- A temporary generation stays one.
update cursors set stage = 'ready' where projection = $1 and generation = $2 and stage = 'loading';

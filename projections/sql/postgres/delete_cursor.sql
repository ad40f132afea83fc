delete from cursors where projection = $1 and generation = $2;

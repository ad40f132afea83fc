select max(generation) from cursors where projection = $1;

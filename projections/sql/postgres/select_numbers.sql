select generation from cursors where projection = $1;

update cursor set stage = ?1;

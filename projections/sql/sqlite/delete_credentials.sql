delete from credentials where subject_id = ?1;

delete from status_changes where credential in (select id from erased_credentials where subject_id = ?1);

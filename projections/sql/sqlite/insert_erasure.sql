insert into erasures (position, subject_id, recorded_at) values (?1, ?2, ?3);

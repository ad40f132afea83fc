select position, subject_id, recorded_at from erasures where position > ?1 order by position limit ?2;

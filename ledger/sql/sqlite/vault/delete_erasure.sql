delete from erasures where subject = ?1

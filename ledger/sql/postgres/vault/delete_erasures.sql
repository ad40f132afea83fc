delete from erasures where subject = any ($1)

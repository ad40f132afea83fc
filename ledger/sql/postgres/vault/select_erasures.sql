select subject, noted_at from erasures order by noted_at, subject

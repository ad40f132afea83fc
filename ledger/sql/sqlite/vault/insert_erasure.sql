insert into erasures (subject, noted_at) values (?1, ?2) on conflict (subject) do nothing

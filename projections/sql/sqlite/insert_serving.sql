insert into serving (projection, generation, version, digest, digest_position) values (?1, ?2, ?3, ?4, ?5)
on conflict (projection) do nothing;

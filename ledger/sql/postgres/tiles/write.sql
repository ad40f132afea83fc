insert into tiles (level, number, hashes)
select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
on conflict on constraint tiles_place do update set hashes = excluded.hashes

-- In one order, so that two such statements do not lock each other out.
insert into erasures (subject, noted_at)
select distinct subject, $2::bigint from unnest($1::uuid[]) as row (subject) order by subject
on conflict on constraint erasures_subject do nothing

-- at the next number only; nothing when another was quicker
insert into checkpoints (number, size, note)
select $1, $2, $3
where $1 = (select coalesce(max(number), -1) + 1 from checkpoints)
on conflict on constraint checkpoints_number do nothing

insert into checkpoints (number, size, note)
values (?1, ?2, ?3)

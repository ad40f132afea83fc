insert into checkpoint_guard (log, note)
values ($1, $2)
on conflict on constraint checkpoint_guard_log do nothing

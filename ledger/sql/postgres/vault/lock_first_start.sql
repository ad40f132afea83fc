-- the number is ours: "credence" in ASCII
select pg_advisory_lock(7165901438972748645)

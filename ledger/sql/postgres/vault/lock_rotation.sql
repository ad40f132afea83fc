-- the number is ours: the first start's, and one more
select pg_try_advisory_lock(7165901438972748646)

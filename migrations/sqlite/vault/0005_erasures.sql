-- Subjects whose erasure has been asked for and has not been seen through. The ledger tells which of them have been erased.

create table erasures (
  subject blob not null constraint erasures_subject primary key check (length(subject) = 16),
  noted_at integer not null
) strict, without rowid;

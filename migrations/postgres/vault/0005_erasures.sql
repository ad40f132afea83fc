-- Subjects whose erasure has been asked for and has not been seen through. The ledger tells which of them have been erased.
-- Permanent: later steps add.

create table erasures (
    subject uuid not null,
    noted_at bigint not null,
    constraint erasures_subject primary key (subject)
);

-- An issuer has several signing keys, counted from 0: the current one is named by its row's did, those before it are retired and kept,
-- since what was issued under their dids is signed with them, and one after it waits to be used.

-- No issuer is made while the keys are moved.
lock table issuers in access exclusive mode;

create table issuer_keys (
    did text not null,
    issuer uuid not null,
    number bigint not null,
    wrapped_signing_key bytea not null,
    constraint issuer_keys_did primary key (did),
    constraint issuer_keys_number unique (issuer, number),
    constraint issuer_keys_number_is_a_count check (number >= 0),
    constraint issuer_keys_issuer foreign key (issuer) references issuers (id)
);

insert into issuer_keys (did, issuer, number, wrapped_signing_key)
select did, id, 0, wrapped_signing_key from issuers;

alter table issuers drop column wrapped_signing_key;

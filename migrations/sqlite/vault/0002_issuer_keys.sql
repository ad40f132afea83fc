-- an issuer has several signing keys, counted from 0: the current one is named by its row's did, those before it are retired and kept,
-- since what was issued under their dids is signed with them, and one after it waits to be used.

create table issuer_keys (
  did text not null constraint issuer_keys_pkey primary key,
  issuer blob not null constraint issuer_keys_issuer references issuers (id),
  number integer not null constraint issuer_keys_number_is_a_count check (number >= 0),
  wrapped_signing_key blob not null,
  constraint issuer_keys_number unique (issuer, number)
) strict, without rowid;

insert into issuer_keys (did, issuer, number, wrapped_signing_key)
select did, id, 0, wrapped_signing_key from issuers;

alter table issuers drop column wrapped_signing_key;

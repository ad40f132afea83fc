-- Each ends in the row's position of itself, so that "newest first" needs no sorting. Ids are not declared unique: that an id
-- stands twice is found by verification_contradiction.sql, which names the event.
create index if not exists issuers_id on issuers (id);
create index if not exists issuers_name on issuers (name);
create index if not exists issuers_registered_at on issuers (registered_at);
create index if not exists credentials_id on credentials (id);
create index if not exists credentials_digest on credentials (digest);
create index if not exists credentials_subject_id on credentials (subject_id);
create index if not exists credentials_issuer on credentials (issuer);
create index if not exists credentials_type on credentials (type);
create index if not exists credentials_issued_at on credentials (issued_at);
create index if not exists credentials_state on credentials (state) where state > 0;
create index if not exists status_changes_credential on status_changes (credential);
create index if not exists status_changes_recorded_at on status_changes (recorded_at);
create index if not exists erasures_subject_id on erasures (subject_id);
create index if not exists erasures_recorded_at on erasures (recorded_at);
create index if not exists erased_credentials_id on erased_credentials (id);
create index if not exists erased_credentials_subject_id on erased_credentials (subject_id);
create index if not exists erased_credentials_digest on erased_credentials (digest);

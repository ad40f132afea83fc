-- Ids are not declared unique: that an id stands twice is found by verification_contradiction.sql, which names the event.
set local maintenance_work_mem = '128MB';
create index if not exists issuers_{generation}_id on issuers_{generation} (id);
create index if not exists issuers_{generation}_name on issuers_{generation} (name);
create index if not exists issuers_{generation}_registered_at on issuers_{generation} (registered_at, position);
create index if not exists credentials_{generation}_id on credentials_{generation} (id);
create index if not exists credentials_{generation}_digest on credentials_{generation} (digest, position);
create index if not exists credentials_{generation}_subject_id on credentials_{generation} (subject_id, position);
create index if not exists credentials_{generation}_issuer on credentials_{generation} (issuer, position);
create index if not exists credentials_{generation}_type on credentials_{generation} (type, position);
create index if not exists credentials_{generation}_issued_at on credentials_{generation} (issued_at, position);
create index if not exists credentials_{generation}_state on credentials_{generation} (state, position) where state > 0;
create index if not exists status_changes_{generation}_credential on status_changes_{generation} (credential, position);
create index if not exists status_changes_{generation}_recorded_at on status_changes_{generation} (recorded_at, position);
create index if not exists erasures_{generation}_subject_id on erasures_{generation} (subject_id, position);
create index if not exists erasures_{generation}_recorded_at on erasures_{generation} (recorded_at, position);
create index if not exists erased_credentials_{generation}_id on erased_credentials_{generation} (id, position);
create index if not exists erased_credentials_{generation}_subject_id on erased_credentials_{generation} (subject_id, position);
create index if not exists erased_credentials_{generation}_digest on erased_credentials_{generation} (digest, position);
analyze issuers_{generation}, credentials_{generation}, status_changes_{generation}, erasures_{generation},
    erased_credentials_{generation};

set local maintenance_work_mem = '128MB';
create index if not exists verifications_{generation}_credential on verifications_{generation} (credential, position);
analyze verifications_{generation};

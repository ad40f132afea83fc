create index if not exists verifications_credential on verifications (credential);

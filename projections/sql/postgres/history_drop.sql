drop table if exists verifications_{generation};

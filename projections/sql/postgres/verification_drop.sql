drop table if exists issuers_{generation}, credentials_{generation}, status_changes_{generation}, erasures_{generation},
    erased_credentials_{generation};

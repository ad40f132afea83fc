//! Every statement of this engine, each from a file of its own.

macro_rules! statements {
    ($($name:ident $file:literal)+) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../../sql/postgres/vault/", $file, ".sql"));)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),+];
    };
}

statements! {
    INSERT_LOG_KEY "insert_log_key"
    SELECT_LOG_KEYS "select_log_keys"
    SELECT_LOG_SIGNING_KEY "select_log_signing_key"
    SELECT_GUARD "select_guard"
    INSERT_GUARD "insert_guard"
    UPDATE_GUARD "update_guard"
    SELECT_SETTINGS "select_settings"
    INSERT_SETTINGS "insert_settings"
    LOCK_FIRST_START "lock_first_start"
    SELECT_SUBJECTS "select_subjects"
    INSERT_SUBJECTS "insert_subjects"
    SELECT_SUBJECTS_BY_EMAIL "select_subjects_by_email"
    SELECT_SUBJECTS_BY_NAME "select_subjects_by_name"
    SELECT_SUBJECTS_BY_BOTH "select_subjects_by_both"
    SELECT_SUBJECT_REFS "select_subject_refs"
    SELECT_SUBJECT_KEYS "select_subject_keys"
    SELECT_ISSUER_SEALING_KEYS "select_issuer_sealing_keys"
    SELECT_MONTH_KEYS "select_month_keys"
    INSERT_MONTH_KEY "insert_month_key"
    SELECT_ISSUER "select_issuer"
    SELECT_ISSUERS "select_issuers"
    INSERT_ISSUER "insert_issuer"
    INSERT_NEXT_ISSUER_KEY "insert_next_issuer_key"
    SELECT_NEXT_ISSUER_KEY "select_next_issuer_key"
    USE_ISSUER_KEY "use_issuer_key"
    SELECT_ISSUER_KEYS "select_issuer_keys"
    SELECT_SIGNING_KEY "select_signing_key"
    INSERT_API_KEY "insert_api_key"
    SELECT_API_KEY_BY_HASH "select_api_key_by_hash"
    SELECT_API_KEYS "select_api_keys"
    REVOKE_API_KEY "revoke_api_key"
    TOUCH_API_KEYS "touch_api_keys"
    UPSERT_WORKER "upsert_worker"
    DELETE_OLD_WORKERS "delete_old_workers"
    DELETE_WORKER "delete_worker"
    RETIRE_WORKER "retire_worker"
    SELECT_WORKERS "select_workers"
}

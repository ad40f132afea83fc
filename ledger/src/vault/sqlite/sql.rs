//! Every statement of this engine, each from a file of its own.

macro_rules! statements {
    ($($name:ident $file:literal)+) => {
        $(pub(super) const $name: &str = include_str!(concat!("../../../sql/sqlite/vault/", $file, ".sql"));)+

        #[cfg(test)]
        pub(super) const ALL: &[&str] = &[$($name),+];
    };
}

statements! {
    INSERT_LOG_KEY "insert_log_key"
    SELECT_LOG_KEYS "select_log_keys"
    SELECT_GUARD "select_guard"
    UPSERT_GUARD "upsert_guard"
    SELECT_HAS_SETTINGS "select_has_settings"
    SELECT_SETTINGS "select_settings"
    INSERT_SETTINGS "insert_settings"
    SELECT_SUBJECT "select_subject"
    INSERT_SUBJECT "insert_subject"
    SELECT_SUBJECTS_BY_EMAIL "select_subjects_by_email"
    SELECT_SUBJECTS_BY_NAME "select_subjects_by_name"
    SELECT_SUBJECTS_BY_BOTH "select_subjects_by_both"
    SELECT_SUBJECT_REFS "select_subject_refs"
    SELECT_SUBJECT_KEY "select_subject_key"
    SELECT_ISSUER_SEALING_KEY "select_issuer_sealing_key"
    SELECT_MONTH_KEY "select_month_key"
    INSERT_MONTH_KEY "insert_month_key"
    SELECT_ISSUER "select_issuer"
    SELECT_ISSUERS "select_issuers"
    INSERT_ISSUER "insert_issuer"
    INSERT_FIRST_ISSUER_KEY "insert_first_issuer_key"
    INSERT_NEXT_ISSUER_KEY "insert_next_issuer_key"
    SELECT_NEXT_ISSUER_KEY "select_next_issuer_key"
    USE_ISSUER_KEY "use_issuer_key"
    SELECT_ISSUER_KEYS "select_issuer_keys"
    SELECT_SIGNING_KEY "select_signing_key"
    INSERT_API_KEY "insert_api_key"
    SELECT_API_KEY_BY_HASH "select_api_key_by_hash"
    SELECT_API_KEYS "select_api_keys"
    REVOKE_API_KEY "revoke_api_key"
    TOUCH_API_KEY "touch_api_key"
    UPSERT_WORKER "upsert_worker"
    DELETE_OLD_WORKERS "delete_old_workers"
    DELETE_WORKER "delete_worker"
    SELECT_WORKERS "select_workers"
}

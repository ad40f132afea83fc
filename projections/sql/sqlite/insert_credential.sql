insert into credentials (
    position, id, type, issuer, subject_id, digest, valid_from, valid_until, issued_at, issued_by, state, status_changed_at
)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12);

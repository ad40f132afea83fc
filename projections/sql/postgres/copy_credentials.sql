copy credentials_{generation} (
    position, id, type, issuer, subject_id, digest, valid_from, valid_until, issued_at, issued_by, state, status_changed_at
)
from stdin with (format binary)

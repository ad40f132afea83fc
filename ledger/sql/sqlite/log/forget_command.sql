-- The row stays, so that a repeat is recognised; without its command it is the repeat of any.
update idempotency set command = x'' where sequence = ?1

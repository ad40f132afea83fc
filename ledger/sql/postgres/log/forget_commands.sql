-- The rows stay, so that a repeat is recognised; without its command it is the repeat of any.
update idempotency set command = '' where position = any ($1::bigint[]) and command <> ''

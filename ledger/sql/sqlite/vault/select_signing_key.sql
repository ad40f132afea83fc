select issuer, wrapped_signing_key from issuer_keys where did = ?1

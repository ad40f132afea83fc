select public_key, wrapped_signing_key from token_keys where kid = $1

select origin_base, lookup_keys from settings

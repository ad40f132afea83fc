insert into settings (only_row, origin_base, lookup_keys) values (1, ?1, ?2)

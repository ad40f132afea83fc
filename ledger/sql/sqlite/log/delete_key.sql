delete from unique_keys
where key = ?1

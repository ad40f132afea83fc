delete from token_keys
where created_at < ?1 and created_at < (select max(newest.created_at) from token_keys as newest)

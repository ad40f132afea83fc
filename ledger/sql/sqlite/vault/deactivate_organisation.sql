update issuers
set deactivated_at = case when ?2 is not null then coalesce(deactivated_at, ?2) end
where id = ?1

-- while the organisation is deactivated nothing is refreshed, and its sessions go on afterwards
update sessions set refreshed_at = ?2, expires_at = ?3
where id = ?1 and ended_at is null and expires_at > ?2 and exists (
  select 1
  from accounts as a
  inner join issuers as i on i.id = a.issuer
  where a.id = sessions.account and i.deactivated_at is null
)

-- each by an index of its own
select issuer from accounts where username_ref = ?1 and is_recorded = 1
union all
select issuer from accounts where email_ref = ?1 and is_recorded = 1

-- each by an index of its own
select username_ref, issuer from accounts where username_ref = any($1) and is_recorded = 1
union all
select email_ref, issuer from accounts where email_ref = any($1) and is_recorded = 1

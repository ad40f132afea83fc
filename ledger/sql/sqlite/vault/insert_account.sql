insert into accounts (id, issuer, roles, username_ref, email_ref, wrapped_profile, wrapped_password, created_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
on conflict do nothing

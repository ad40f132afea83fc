insert into subjects (id, issuer, name_ref, email_ref, wrapped_key) values (?1, ?2, ?3, ?4, ?5)
on conflict (email_ref, name_ref, issuer) do nothing

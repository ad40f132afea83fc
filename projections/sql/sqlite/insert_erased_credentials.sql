-- What must be known of the credentials of the subject ?1 once they are taken away.
insert into erased_credentials (position, id, issuer, subject_id, digest)
select position, id, issuer, subject_id, digest from credentials where subject_id = ?1;

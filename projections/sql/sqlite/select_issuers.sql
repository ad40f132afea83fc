select position, id, name, did, registered_at from issuers where position > ?1 order by position limit ?2;

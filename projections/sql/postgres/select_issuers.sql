select position, id, name, did, registered_at from issuers_{generation} where position > $1 order by position limit $2;

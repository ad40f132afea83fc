insert into issuers (position, id, name, did, registered_at) values (?1, ?2, ?3, ?4, ?5);

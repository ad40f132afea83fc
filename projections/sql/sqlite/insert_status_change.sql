insert into status_changes (position, credential, recorded_at, state) values (?1, ?2, ?3, ?4);

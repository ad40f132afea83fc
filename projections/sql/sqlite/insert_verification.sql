insert into verifications (position, credential) values (?1, ?2);

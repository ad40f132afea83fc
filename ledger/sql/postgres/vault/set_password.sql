-- what was checked is still its password, and the session in which it was is not over
update accounts set wrapped_password = $3
where
    id = $1 and wrapped_password = $2 and is_recorded = 1 and (
        $4::uuid is null
        or exists (select from sessions where id = $4 and account = accounts.id and ended_at is null and expires_at > $5)
    )

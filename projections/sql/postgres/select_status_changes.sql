select position, credential, recorded_at, state from status_changes_{generation} where position > $1 order by position limit $2;

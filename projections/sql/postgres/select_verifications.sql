select position, credential from verifications_{generation} where position > $1 order by position limit $2;

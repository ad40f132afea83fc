set synchronous_commit = on

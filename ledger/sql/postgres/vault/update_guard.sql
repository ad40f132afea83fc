-- only over the note that was known
update checkpoint_guard set note = $3 where log = $1 and note = $2

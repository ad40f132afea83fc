update tree set size = $2 where size = $1

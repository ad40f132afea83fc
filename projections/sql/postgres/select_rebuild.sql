select id, projection, phase, done, total, events_per_second, equal, updated_at, failure from rebuilds where id = $1;

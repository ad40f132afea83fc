select exists (select from events)

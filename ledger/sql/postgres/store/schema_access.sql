-- no row: there is no such schema
-- By oid: a session looks a name up in what it remembers, where a schema that another has just made can still be missing.
select has_schema_privilege(oid, 'usage') from pg_catalog.pg_namespace where nspname = $1

-- no row: there is no such schema
select has_schema_privilege(nspname, 'usage') from pg_catalog.pg_namespace where nspname = $1

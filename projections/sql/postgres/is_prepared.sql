-- By what the catalog holds: a session looks a name up in what it remembers, where a schema that another has just made can still be missing.
select
    exists (select from pg_catalog.pg_namespace where nspname = 'read'),
    2 = (
        select count(*) from pg_catalog.pg_class
        where relnamespace = (select oid from pg_catalog.pg_namespace where nspname = 'read') and relname in ('cursors', 'rebuilds')
    );

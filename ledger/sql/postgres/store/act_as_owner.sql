-- no row: the schema is not there, or is the login's own, or the login is no member of its owner
select set_config('role', owner.rolname, false)
from pg_catalog.pg_namespace
join pg_catalog.pg_roles as owner on owner.oid = pg_namespace.nspowner
where pg_namespace.nspname = $1 and owner.rolname <> current_user and pg_has_role(owner.oid, 'member')

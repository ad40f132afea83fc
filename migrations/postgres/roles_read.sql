-- The read store's schema belongs to the projector, which makes and drops its tables; the others may read what stands there now and
-- what it will make. After roles.sql; may run again at any time.

-- As in roles.sql, whose runs change the same rows.
select pg_advisory_xact_lock(7165901438972748647);

create schema if not exists read;

do $$
declare
    owned record;
begin
    -- Whoever gives something away must be a member of the role that gets it. A superuser is.
    if not pg_has_role(current_user, 'credence_projector', 'member') then
        execute format('grant credence_projector to %I', current_user);
    end if;
    for owned in
        select tables.tablename
        from pg_catalog.pg_tables as tables
        where tables.schemaname = 'read' and tables.tableowner <> 'credence_projector'
    loop
        execute format('alter table read.%I owner to credence_projector', owned.tablename);
    end loop;
end
$$;

alter schema read owner to credence_projector;

grant usage on schema read to credence_issuance, credence_verification;
grant select on all tables in schema read to credence_issuance, credence_verification;
alter default privileges for role credence_projector in schema read
    grant select on tables to credence_issuance, credence_verification;

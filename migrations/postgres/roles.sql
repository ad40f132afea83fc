-- The rights of each role's logins, on whichever of the logs and the vault this database holds. May run again at any time, and does
-- so after each upgrade. The roles cannot log in; logins are made members of them: `create role … login in role credence_issuance`.

-- Two runs at once would change the same rows of the catalogue. The number is ours: the first start's, and two more; it is freed with
-- the transaction that the whole file is.
select pg_advisory_xact_lock(7165901438972748647);

do $$
declare
    role text;
    -- the roles are shared by all databases of the server, whose runs of this file may meet
    roles constant text[] := array['credence_issuance', 'credence_verification', 'credence_projector'];
begin
    foreach role in array roles loop
        begin
            execute format('create role %I nologin', role);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;

-- Takes back what an earlier version of this file may have granted.
do $$
declare
    schema text;
begin
    foreach schema in array array['ledger', 'audit', 'vault'] loop
        if to_regnamespace(schema) is not null then
            execute format('revoke all on schema %I from credence_issuance, credence_verification, credence_projector', schema);
            execute format('revoke all on all tables in schema %I from credence_issuance, credence_verification, credence_projector', schema);
            execute format('revoke all on all functions in schema %I from credence_issuance, credence_verification, credence_projector', schema);
        end if;
    end loop;
end
$$;

do $$
begin
    if to_regclass('ledger.events') is null then
        return;
    end if;
    grant usage on schema ledger to credence_issuance, credence_projector;
    -- whether the schema is up to date
    grant select on ledger._sqlx_migrations to credence_issuance, credence_projector;

    grant select, insert on ledger.events to credence_issuance;
    -- the head's row is inserted once, at the first start, which is issuance's
    grant select, insert, update on ledger.head to credence_issuance;
    -- keys are claimed and released, repeats remembered and forgotten
    grant select, insert, update, delete on ledger.unique_keys, ledger.idempotency to credence_issuance;
    -- everybody may, unless the database was set up otherwise; it acts with the rights of whoever calls it
    grant execute on all functions in schema ledger to credence_issuance;

    -- whoever issues also lets the tree grow and publishes checkpoints
    grant select, insert, update on ledger.tiles, ledger.tree to credence_issuance;
    grant select, insert on ledger.checkpoints to credence_issuance;

    grant select on ledger.events, ledger.head to credence_projector;
    grant select on ledger.tiles, ledger.tree, ledger.checkpoints to credence_projector;
    -- what a verdict is proved with: hashes and signed notes, no event
    grant usage on schema ledger to credence_verification;
    grant select on ledger.tiles, ledger.tree, ledger.checkpoints to credence_verification;
end
$$;

do $$
begin
    if to_regclass('audit.events') is null then
        return;
    end if;
    -- each role records what it does
    grant usage on schema audit to credence_issuance, credence_verification, credence_projector;
    grant select on audit._sqlx_migrations to credence_issuance, credence_verification, credence_projector;
    grant select, insert on audit.events to credence_issuance, credence_verification, credence_projector;
    grant select, update on audit.head to credence_issuance, credence_verification, credence_projector;
    grant insert on audit.head to credence_issuance;
    grant select, insert, update, delete on audit.unique_keys, audit.idempotency
        to credence_issuance, credence_verification, credence_projector;
    grant execute on all functions in schema audit to credence_issuance, credence_verification, credence_projector;
    grant select, insert, update on audit.tiles, audit.tree to credence_issuance;
    grant select, insert on audit.checkpoints to credence_issuance;
    grant select on audit.tiles, audit.tree, audit.checkpoints to credence_verification, credence_projector;
end
$$;

do $$
begin
    if to_regclass('vault.settings') is null then
        return;
    end if;
    grant usage on schema vault to credence_issuance, credence_verification, credence_projector;
    grant select on vault._sqlx_migrations to credence_issuance, credence_verification, credence_projector;

    grant select, insert, update, delete
        on vault.settings, vault.subjects, vault.issuers, vault.month_keys, vault.api_keys, vault.workers, vault.log_keys,
            vault.checkpoint_guard, vault.accounts, vault.sessions, vault.refresh_tokens, vault.token_keys, vault.erasures
        to credence_issuance;
    -- signing keys are kept for ever and never changed; nobody else sees them
    grant select, insert on vault.issuer_keys to credence_issuance;

    -- by which master key one wraps: it is rotated by the owner of the tables
    grant select on vault.master_key_rotation to credence_issuance, credence_verification, credence_projector;
    -- Wrapped by the master key. By opening them a process learns that its master key is the vault's, before it makes a month's
    -- key with it: therefore the projector, too.
    grant select on vault.settings to credence_verification, credence_projector;
    -- never the sealing key
    grant select (id, issuer, name_ref, email_ref) on vault.subjects to credence_verification;
    -- what checkpoints are checked with, never what signs them
    grant select (log, number, public_key, created_at) on vault.log_keys to credence_verification, credence_projector;
    grant select, insert on vault.month_keys to credence_verification, credence_projector;
    -- hashes, roles and issuers of callers, and when they last came
    grant select on vault.api_keys to credence_verification, credence_projector;
    grant update (last_used_at) on vault.api_keys to credence_verification, credence_projector;
    -- whether a session goes on, what its account may do, and what access tokens are checked with; never who it is, nor a secret
    grant select (id, name, did, deactivated_at) on vault.issuers to credence_verification, credence_projector;
    grant select (id, issuer, roles, is_recorded, deactivated_at) on vault.accounts to credence_verification, credence_projector;
    grant select (id, account, created_at, refreshed_at, expires_at, ended_at) on vault.sessions to credence_verification, credence_projector;
    grant select (kid, public_key, created_at, retired_at) on vault.token_keys to credence_verification, credence_projector;
    -- each process says that it lives, in a row that it finds by its instance's id
    grant insert, update on vault.workers to credence_verification, credence_projector;
    grant select (instance) on vault.workers to credence_verification, credence_projector;
end
$$;

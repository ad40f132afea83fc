//! The names of everything that can be configured, as options of the command line. Environment and file use the same names:
//! `--wait-ms-max`, `CREDENCE_WAIT_MS_MAX`, `wait_ms_max`.
//!
//! Values are texts here; [`super::Config`] reads them, whichever layer they come from, in one place.

use std::fmt;

use clap::{ArgAction, Args};

/// An option's name, in snake case, and what the command line gave for it.
pub(crate) type Given<'a> = (&'static str, Option<&'a str>);

macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        #[derive(Clone, Default, Args)]
        $(#[$doc])*
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<String>,)+
        }

        /// Which were given, and not with what: some hold passwords.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.given().iter().filter_map(|(name, value)| value.map(|_| name))).finish()
            }
        }

        impl $name {
            /// Every name, with what the command line gave for it.
            pub(super) fn given(&self) -> Vec<Given<'_>> {
                vec![$((stringify!($field), self.$field.as_deref())),+]
            }
        }
    };
}

options! {
    /// What every command takes.
    #[command(next_help_heading = "Stores")]
    StoreOptions {
        /// A TOML file with the same names in snake case; every option is also a variable, this one `CREDENCE_CONFIG`.
        #[arg(long, value_name = "FILE")]
        config,
        /// All four stores: `sqlite:DIR` or `postgres://user@host/database` [default: sqlite:./credence-data].
        #[arg(long, value_name = "URL")]
        store,
        /// The ledger's store, if it is another one.
        #[arg(long, value_name = "URL")]
        ledger_store,
        /// The audit log's store, if it is another one.
        #[arg(long, value_name = "URL")]
        audit_store,
        /// The read models' store, if it is another one.
        #[arg(long, value_name = "URL")]
        read_store,
        /// The vault's store, if it is another one.
        #[arg(long, value_name = "URL")]
        vault_store,
        /// A file that holds the value of --store.
        #[arg(long, value_name = "FILE")]
        store_file,
        /// A file that holds the value of --ledger-store.
        #[arg(long, value_name = "FILE")]
        ledger_store_file,
        /// A file that holds the value of --audit-store.
        #[arg(long, value_name = "FILE")]
        audit_store_file,
        /// A file that holds the value of --read-store.
        #[arg(long, value_name = "FILE")]
        read_store_file,
        /// A file that holds the value of --vault-store.
        #[arg(long, value_name = "FILE")]
        vault_store_file,
        /// Where master.key and admin.key are written when the vault is on PostgreSQL.
        #[arg(long, value_name = "DIR")]
        data_dir,
        /// The file with the vault's master key: 64 hex digits.
        #[arg(long, value_name = "FILE")]
        master_key_file,
        /// Host and optional path that name the logs in the world; read once, when the stores are created.
        #[arg(long, value_name = "HOST[/PATH]")]
        origin,
        /// This process's name [default: the host's].
        #[arg(long, value_name = "NAME")]
        worker_id,
        /// Start on a server that loses acknowledged commits (fsync=off).
        #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        allow_unsafe_durability,
        /// How it is logged; auto is JSON when standard error is no terminal [default: auto].
        #[arg(long, value_name = "auto|json|text")]
        log_format,
    }
}

options! {
    /// What `serve` takes besides.
    #[command(next_help_heading = "Serving")]
    ServeOptions {
        // Not a store option: `replay` and `fsck` have a `--log` of their own, which names a log.
        /// What is logged: a tracing filter [default: info].
        #[arg(long, value_name = "FILTER")]
        log,
        /// Where to listen; port 0 takes any free one [default: 127.0.0.1:8080].
        #[arg(long, value_name = "ADDR:PORT")]
        listen,
        /// Listen by TLS: the certificate and those above it, PEM. Read again on SIGHUP.
        #[arg(long, value_name = "FILE")]
        tls_certificate_file,
        /// The certificate's private key, PEM.
        #[arg(long, value_name = "FILE")]
        tls_key_file,
        /// What to serve [default: all].
        #[arg(long, value_name = "all|issuance|verification|projector")]
        role,
        /// A read model confirmed longer ago than this gives no answers [default: 300].
        #[arg(long, value_name = "SECONDS")]
        staleness_s_max,
        /// A read waits no longer than this for a position [default: 5000].
        #[arg(long, value_name = "MILLISECONDS")]
        wait_ms_max,
        /// How long a repeated request is recognised by its Idempotency-Key [default: 168].
        #[arg(long, value_name = "HOURS")]
        idempotency_hours,
        /// How long the audit log's details (addresses, user agents) can be opened, at least; 31 or more [default: for ever].
        #[arg(long, value_name = "DAYS")]
        audit_retention_days,
        /// The largest body that is taken [default: 1048576].
        #[arg(long, value_name = "BYTES")]
        body_bytes_max,
        /// Let anybody issue through the two older dialects, as issuer `default`: for demos [default: false].
        #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        open_issuance,
        /// Who may register an account: anybody, or administrators alone [default: closed].
        #[arg(long, value_name = "open|closed")]
        registration,
        /// How long an access token holds, unless its session ends before [default: 600].
        #[arg(long, value_name = "SECONDS")]
        access_token_s,
        /// How long a session goes on without being refreshed [default: 720].
        #[arg(long, value_name = "HOURS")]
        session_hours,
        /// How much memory the hash of a password takes: Argon2id's m [default: 19456].
        #[arg(long, value_name = "KIBIBYTES")]
        password_memory_kib,
        /// How many passes the hash of a password takes: Argon2id's t [default: 2].
        #[arg(long, value_name = "COUNT")]
        password_iterations,
        /// How many lanes the hash of a password has: Argon2id's p [default: 1].
        #[arg(long, value_name = "COUNT")]
        password_lanes,
        /// Whether anything is limited [default: on].
        #[arg(long, value_name = "on|off")]
        rate_limit,
        /// How many requests without credentials an address may make in which time [default: 600/1m].
        #[arg(long, value_name = "COUNT/TIME")]
        rate_limit_public,
        /// How many requests a key or an account may make in which time [default: 6000/1m].
        #[arg(long, value_name = "COUNT/TIME")]
        rate_limit_authenticated,
        /// How many logins may fail in which time, of an account and from an address [default: 5/15m].
        #[arg(long, value_name = "COUNT/TIME")]
        rate_limit_login_failures,
        /// A Redis server by which all processes share their limits: `redis://…`, or `rediss://…` for TLS.
        #[arg(long, value_name = "URL")]
        redis_url,
        /// A file that holds the value of --redis-url.
        #[arg(long, value_name = "FILE")]
        redis_url_file,
        /// Proxies that are believed when they say for whom they ask: addresses and networks, separated by commas [default: none].
        #[arg(long, value_name = "ADDRESS[/BITS],…")]
        trusted_proxies,
        /// How often a checkpoint of each log is published, unless one is asked for [default: 5].
        #[arg(long, value_name = "SECONDS")]
        checkpoint_interval_s,
        /// Where the last signed checkpoints are kept outside the ledger's server: `file:PATH`, to which a dot and the log's name are added,
        /// or `witness:NAME`, one of the policy's.
        #[arg(long, value_name = "file:PATH|witness:NAME")]
        checkpoint_anchor,
        /// Who is asked to cosign checkpoints, and how many of them are wanted: a file in the C2SP tlog-policy format.
        #[arg(long, value_name = "FILE")]
        witness_policy_file,
        /// Whether the audit log's checkpoints and tiles are for everybody [default: false].
        #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
        audit_tiles_public,
        /// An OpenID Connect provider whose bearer tokens are taken: its issuer, exactly as in its tokens.
        #[arg(long, value_name = "URL")]
        oidc_issuer,
        /// What its tokens must name as their audience.
        #[arg(long, value_name = "NAME")]
        oidc_audience,
        /// The claim with the provider's roles, a text or a list; dots lead inwards, as in realm_access.roles [default: roles].
        #[arg(long, value_name = "CLAIM")]
        oidc_role_claim,
        /// Which of the provider's roles give which of ours, separated by commas.
        #[arg(long, value_name = "THEIRS=OURS,…")]
        oidc_roles,
        /// The organisation for which all its callers act [default: default].
        #[arg(long, value_name = "NAME")]
        oidc_organisation,
        /// The claim that names the organisation for which a caller acts, in place of --oidc-organisation.
        #[arg(long, value_name = "CLAIM")]
        oidc_organisation_claim,
        /// By how much its clock and ours may differ [default: 60].
        #[arg(long, value_name = "SECONDS")]
        oidc_clock_skew_s,
        /// Origins whose pages may call, separated by commas [default: none].
        #[arg(long, value_name = "ORIGIN,…")]
        cors_origins,
        /// How long requests in flight may take when the process is told to stop [default: 30].
        #[arg(long, value_name = "SECONDS")]
        drain_s_max,
    }
}

/// Every name there is.
pub(super) fn names() -> Vec<&'static str> {
    let (stores, serve) = (StoreOptions::default(), ServeOptions::default());
    let names: Vec<&'static str> = stores.given().into_iter().chain(serve.given()).map(|(name, _)| name).collect();
    names
}

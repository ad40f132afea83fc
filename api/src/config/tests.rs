use std::ffi::OsString;
use std::io::Write;

use credence_ledger::checkpoint::WitnessKey;
use credence_ledger::publisher::witness::Quorum;
use credence_ledger::vault;

use super::*;

fn read(serve: &ServeOptions, environment: &[(&str, &str)]) -> Result<(Config, Vec<String>), Error> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::read(&StoreOptions::default(), serve, environment)
}

fn refused(environment: &[(&str, &str)]) -> String {
    read(&ServeOptions::default(), environment).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn everything_has_the_documented_default() {
    let (config, warnings) = read(&ServeOptions::default(), &[]).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.listen, "127.0.0.1:8080");
    assert_eq!(config.role, Role::All);
    assert_eq!(config.store.stores.ledger, "sqlite:./credence-data".parse().unwrap());
    assert_eq!(config.store.stores.ledger, config.store.stores.vault);
    assert_eq!(config.staleness_max, Duration::from_secs(300));
    assert_eq!(config.wait_max, Duration::from_millis(5000));
    assert_eq!(config.idempotency_kept, Duration::from_secs(168 * 3600));
    assert_eq!((config.body_bytes_max, config.audit_details_kept), (1_048_576, None));
    let rates = RateLimits {
        public: Some("600/1m".parse().unwrap()),
        authenticated: Some("6000/1m".parse().unwrap()),
        login_failures: Some("5/15m".parse().unwrap()),
    };
    assert_eq!((config.rate_limits, config.trusted_proxies, config.redis.is_none()), (rates, TrustedProxies::default(), true));
    assert_eq!(config.drain_max, Duration::from_secs(30));
    assert!(!config.open_issuance && config.cors_origins.is_empty() && !config.store.allow_unsafe_durability);
    assert_eq!((config.store.log.filter.as_str(), config.store.log.format), ("info", LogFormat::Auto));
}

#[test]
fn the_command_line_wins_over_the_environment_and_the_environment_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "wait_ms_max = 1\nstaleness_s_max = 2\nbody_bytes_max = 3000\ncors_origins = [\"https://a.example\"]").unwrap();
    let file = file.path().to_str().unwrap().to_owned();
    let serve = ServeOptions { wait_ms_max: Some("100".to_owned()), ..ServeOptions::default() };
    let environment =
        [("CREDENCE_CONFIG", file.as_str()), ("CREDENCE_WAIT_MS_MAX", "200"), ("CREDENCE_STALENESS_S_MAX", "20"), ("HOME", "/")];
    let (config, _) = read(&serve, &environment).unwrap();
    assert_eq!(config.wait_max, Duration::from_millis(100));
    assert_eq!(config.staleness_max, Duration::from_secs(20));
    assert_eq!(config.body_bytes_max, 3000);
    assert_eq!(config.cors_origins, ["https://a.example"]);
}

#[test]
fn details_are_kept_for_a_month_at_least() {
    let (config, _) = read(&ServeOptions::default(), &[("CREDENCE_AUDIT_RETENTION_DAYS", "31")]).unwrap();
    assert_eq!(config.audit_details_kept, Some(Duration::from_secs(31 * 86_400)));
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest_known_one() {
    let (_, warnings) = read(&ServeOptions::default(), &[("CREDENCE_WAIT_MAX_MS", "1"), ("CREDENCE_TEST_POSTGRES", "x")]).unwrap();
    assert_eq!(warnings, ["CREDENCE_WAIT_MAX_MS is not known; did you mean CREDENCE_WAIT_MS_MAX?"]);
}

#[test]
fn a_value_that_cannot_be_used_names_its_variable_and_is_not_repeated() {
    for (name, value) in [
        ("CREDENCE_ROLE", "both"),
        ("CREDENCE_LISTEN", "8080"),
        ("CREDENCE_LISTEN", "localhost:http"),
        ("CREDENCE_STORE", "mysql://me:hunter2@host/db"),
        ("CREDENCE_VAULT_STORE", "sqlite:"),
        ("CREDENCE_WAIT_MS_MAX", "5s"),
        ("CREDENCE_WAIT_MS_MAX", "-1"),
        ("CREDENCE_STALENESS_S_MAX", "0"),
        ("CREDENCE_BODY_BYTES_MAX", "1"),
        ("CREDENCE_OPEN_ISSUANCE", "yes"),
        ("CREDENCE_RATE_LIMIT", "true"),
        ("CREDENCE_RATE_LIMIT_PUBLIC", "600"),
        ("CREDENCE_RATE_LIMIT_PUBLIC", "0/1m"),
        ("CREDENCE_RATE_LIMIT_PUBLIC", "1/0s"),
        ("CREDENCE_RATE_LIMIT_AUTHENTICATED", "2000000/1s"),
        ("CREDENCE_RATE_LIMIT_LOGIN_FAILURES", "5"),
        ("CREDENCE_REDIS_URL", "http://me:hunter2@host"),
        ("CREDENCE_REDIS_URL", "redis://me:hunter2@host:port"),
        ("CREDENCE_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("CREDENCE_AUDIT_RETENTION_DAYS", "30"),
        ("CREDENCE_CORS_ORIGINS", "*"),
        ("CREDENCE_CORS_ORIGINS", "https://a.example/path"),
        ("CREDENCE_LOG", "=="),
        ("CREDENCE_LOG_FORMAT", "xml"),
        ("CREDENCE_ORIGIN", "https://a.example"),
        ("CREDENCE_ORIGIN", "a b"),
        ("CREDENCE_WORKER_ID", "a b"),
    ] {
        let message = refused(&[(name, value)]);
        assert!(message.starts_with(&format!("{name}: ")), "{name}={value}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_policy_of_witnesses_is_read_when_the_process_starts() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("policy").display().to_string();
    let key = |seed: u8| WitnessKey::from_seed(&format!("w{seed}.example"), &[seed; 32]).verifier();
    let lines = format!("witness w1 {} https://w1.example/prefix\nwitness w2 {}\n", key(1), key(2));
    let with = |quorum: &str, anchor: &str| {
        std::fs::write(&path, format!("{lines}{quorum}")).unwrap();
        read(&ServeOptions::default(), &[("CREDENCE_WITNESS_POLICY_FILE", &path), ("CREDENCE_CHECKPOINT_ANCHOR", anchor)])
    };
    let (config, _) = with("quorum w1\n", "witness:w1").unwrap();
    let witnesses = config.witnesses.unwrap();
    assert_eq!((witnesses.asked.len(), witnesses.asked[0].address.to_string()), (1, "https://w1.example/prefix/add-checkpoint".to_owned()));
    assert_eq!((witnesses.quorum, config.checkpoint_anchor), (Quorum::Witness(key(1)), Some(Anchor::Witness(key(1)))));
    let wrong = |quorum: &str, anchor: &str| with(quorum, anchor).map(|_| ()).unwrap_err().to_string();
    let of_file = |problem: &str| format!("CREDENCE_WITNESS_POLICY_FILE: {path}{problem}");
    assert_eq!(wrong("quorum w3\n", ""), of_file(", line 3: w3 is not defined before this line"));
    assert_eq!(wrong("quorum w2\n", ""), of_file(": too few witnesses have a URL for the quorum to be met"));
    let ftp = format!("witness w3 {} ftp://w3.example\nquorum none\n", key(3));
    assert!(wrong(&ftp, "").starts_with("CREDENCE_WITNESS_POLICY_FILE: witness w3: expected an http or https URL"));
    for anchor in ["witness:w2", "witness:w3", "witness:", "witness", "w1", "file:"] {
        assert!(wrong("quorum none\n", anchor).starts_with("CREDENCE_CHECKPOINT_ANCHOR: "), "{anchor}");
    }
    assert_eq!(
        refused(&[("CREDENCE_CHECKPOINT_ANCHOR", "witness:w1")]),
        "CREDENCE_CHECKPOINT_ANCHOR: a witness is named, but no CREDENCE_WITNESS_POLICY_FILE"
    );
    assert!(refused(&[("CREDENCE_WITNESS_POLICY_FILE", "/nowhere/at/all")]).starts_with("CREDENCE_WITNESS_POLICY_FILE: cannot read"));
}

#[test]
fn a_store_may_be_given_in_a_file_but_not_twice_in_one_layer() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "postgres://me:hunter2@host/db").unwrap();
    let file = file.path().to_str().unwrap().to_owned();
    let (config, _) = read(&ServeOptions::default(), &[("CREDENCE_LEDGER_STORE_FILE", &file)]).unwrap();
    assert_eq!(config.store.stores.ledger.to_string(), "postgres://host/db");
    assert_eq!(config.store.stores.audit.to_string(), "sqlite:./credence-data");
    let message = refused(&[("CREDENCE_STORE", "sqlite:a"), ("CREDENCE_STORE_FILE", &file)]);
    assert_eq!(message, "CREDENCE_STORE: give this or CREDENCE_STORE_FILE, not both");
    assert!(refused(&[("CREDENCE_STORE_FILE", "/nowhere/at/all")]).starts_with("CREDENCE_STORE_FILE: cannot read"));
}

#[test]
fn no_password_can_be_shown_by_accident() {
    let (postgres, redis) = ("postgres://me:hunter2@host/db?password=hunter2", "redis://me:hunter2@host:6379");
    let stores = StoreOptions { store: Some(postgres.to_owned()), ..StoreOptions::default() };
    let serve = ServeOptions { redis_url: Some(redis.to_owned()), ..ServeOptions::default() };
    for name in ["CREDENCE_MASTER_KEY", "CREDENCE_MASTER_KEY_COMMAND"] {
        let (config, _) = read(&serve, &[(name, "hunter2")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{name}");
    }
    let (config, _) = Config::read(&stores, &serve, std::iter::empty()).unwrap();
    for shown in [format!("{config:?}"), format!("{:#?}", config.store), format!("{stores:?}"), format!("{serve:?}")] {
        assert!(!shown.contains("hunter2") && !shown.contains("me:"), "{shown}");
    }
    assert_eq!((format!("{stores:?}"), format!("{serve:?}")), (r#"{"store"}"#.to_owned(), r#"{"redis_url"}"#.to_owned()));
    assert_eq!(config.store.stores.ledger.to_string(), "postgres://host/db");
}

#[test]
fn a_file_may_hold_only_what_there_is() {
    for (text, problem) in [("wait_max = 1", "wait_max in "), ("listen = 1.5", "listen in "), ("a = [", "TOML in ")] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "{text}").unwrap();
        let message = refused(&[("CREDENCE_CONFIG", file.path().to_str().unwrap())]);
        assert!(message.starts_with(problem), "{message}");
    }
}

#[test]
fn limits_can_be_turned_off_altogether() {
    let (config, _) = read(&ServeOptions::default(), &[("CREDENCE_RATE_LIMIT", "off"), ("CREDENCE_RATE_LIMIT_PUBLIC", "1/1m")]).unwrap();
    assert_eq!(config.rate_limits, RateLimits::default());
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let (config, warnings) = read(&ServeOptions::default(), &[("CREDENCE_ROLE", ""), ("CREDENCE_NONSENSE", "")]).unwrap();
    assert_eq!((config.role, warnings.len()), (Role::All, 0));
}

#[test]
fn a_rate_is_a_count_and_a_time() {
    for (text, count, per_s) in [("600/1m", 600, 60), ("10/s", 10, 1), ("5/2h", 5, 7200), ("1/30s", 1, 30)] {
        let rate: RateLimit = text.parse().unwrap();
        assert_eq!((rate.count.get(), rate.per.as_secs()), (count, per_s), "{text}");
    }
}

#[test]
fn every_name_stands_in_the_operations_manual() {
    let manual = include_str!("../../../docs/OPERATIONS.md");
    for name in options::names() {
        // The stores' own names stand in one line, shortened.
        let variable = format!("CREDENCE_{}", name.to_uppercase());
        let shortened = format!("…{}", name.to_uppercase());
        let in_file = name.ends_with("_store_file");
        assert!(in_file || manual.contains(&format!("`{variable}`")) || manual.contains(&format!("`{shortened}`")), "{variable}");
    }
}

const PROVIDER: [(&str, &str); 3] = [
    ("CREDENCE_OIDC_ISSUER", "https://id.example.org/realms/a/"),
    ("CREDENCE_OIDC_AUDIENCE", "credence"),
    ("CREDENCE_OIDC_ROLES", "credence-issuer=issuer, staff=issuer,staff=auditor,a=b=admin"),
];

fn provider_with(more: &[(&str, &str)]) -> Result<Oidc, Error> {
    let given: Vec<(&str, &str)> = PROVIDER.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name)).collect();
    read(&ServeOptions::default(), &[&given, more].concat()).map(|(config, _)| config.oidc.unwrap())
}

#[test]
fn a_provider_is_read_whole() {
    let provider = provider_with(&[]).unwrap();
    assert_eq!(provider.issuer, "https://id.example.org/realms/a/");
    assert_eq!(provider.discovery, "https://id.example.org/realms/a/.well-known/openid-configuration");
    assert_eq!((provider.audience.as_str(), provider.role_claim.as_str()), ("credence", "roles"));
    let roles = [
        ("credence-issuer", vault::Role::Issuer),
        ("staff", vault::Role::Issuer),
        ("staff", vault::Role::Auditor),
        ("a=b", vault::Role::Admin),
    ];
    assert_eq!(provider.roles, roles.map(|(theirs, ours)| (theirs.to_owned(), ours)));
    assert_eq!((provider.organisation, provider.clock_skew), (Organisation::Fixed("default".to_owned()), Duration::from_secs(60)));
    let named = provider_with(&[("CREDENCE_OIDC_ORGANISATION", "acme"), ("CREDENCE_OIDC_CLOCK_SKEW_S", "0")]).unwrap();
    assert_eq!((named.organisation, named.clock_skew), (Organisation::Fixed("acme".to_owned()), Duration::ZERO));
    let claimed = provider_with(&[("CREDENCE_OIDC_ORGANISATION_CLAIM", "org")]).unwrap();
    assert_eq!(claimed.organisation, Organisation::Claim("org".to_owned()));
    for issuer in ["http://localhost:8080/realms/a", "http://127.0.0.1", "http://[::1]:1/", "https://id.example.org"] {
        assert_eq!(provider_with(&[("CREDENCE_OIDC_ISSUER", issuer)]).unwrap().issuer, issuer);
    }
    assert_eq!(read(&ServeOptions::default(), &[]).unwrap().0.oidc, None);
}

#[test]
fn half_a_provider_is_refused_and_what_is_missing_is_named() {
    let (issuer, rest) = PROVIDER.split_first().unwrap();
    for given in rest.iter().chain(&[("CREDENCE_OIDC_CLOCK_SKEW_S", "1"), ("CREDENCE_OIDC_ORGANISATION", "a")]) {
        assert_eq!(refused(&[*given]), format!("{}: this needs CREDENCE_OIDC_ISSUER, which is not given", given.0));
    }
    for missing in rest {
        let given: Vec<_> = PROVIDER.into_iter().filter(|given| given != missing).collect();
        assert_eq!(refused(&given), format!("{}: this needs {}, which is not given", issuer.0, missing.0));
    }
    for (name, value) in [
        ("CREDENCE_OIDC_ISSUER", "http://id.example.org"),
        ("CREDENCE_OIDC_ISSUER", "http://localhost.example.org"),
        ("CREDENCE_OIDC_ISSUER", "https://id.example.org?a"),
        ("CREDENCE_OIDC_ISSUER", "https://me@id.example.org"),
        ("CREDENCE_OIDC_ISSUER", "id.example.org"),
        ("CREDENCE_OIDC_ROLES", "issuer"),
        ("CREDENCE_OIDC_ROLES", "a=king"),
        ("CREDENCE_OIDC_ROLES", "=issuer"),
        ("CREDENCE_OIDC_ROLES", ","),
        ("CREDENCE_OIDC_CLOCK_SKEW_S", "601"),
        ("CREDENCE_OIDC_AUDIENCE", " "),
        ("CREDENCE_OIDC_ORGANISATION", " "),
    ] {
        let message = provider_with(&[(name, value)]).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: ")), "{name}={value}: {message}");
    }
    let both = provider_with(&[("CREDENCE_OIDC_ORGANISATION", "a"), ("CREDENCE_OIDC_ORGANISATION_CLAIM", "b")]).unwrap_err().to_string();
    assert_eq!(both, "CREDENCE_OIDC_ORGANISATION_CLAIM: give this or CREDENCE_OIDC_ORGANISATION, not both");
}

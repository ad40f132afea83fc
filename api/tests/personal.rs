//! Nothing personal stands in clear: every operation is done with a made-up person's details, and then all that there is is walked, column by
//! column and member by member. What may stand anywhere is listed here by its shape, so that whatever is added later has to be
//! classified; and none of the person's details is found in any of it, nor in log lines, metrics, exports, copies or files left behind.

#![cfg(test)]

#[path = "support/search.rs"]
mod search;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use ciborium::Value as Cbor;
use credence_api::policy;
use credence_ledger::Stream;
use credence_ledger::sealing::{KeyId, Sealed};
use jsonwebtoken::Algorithm;
use reqwest::Method;
use rusqlite::types::ValueRef;
use search::{files, places_of};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use support::accounts::PASSWORD;
use support::oidc::{AUDIENCE, SigningKey, TestProvider};
use support::{Answer, Child, Engine, Session, Stores, User, send};
use uuid::Uuid;

engines!(nothing_personal_stands_in_clear_wherever_one_looks);

/// A person, and what is known of it, by what it is.
const PERSONAL: &[(&str, &str)] = &[
    ("name", "Žofie Quillfeather"),
    ("address", "zofie.quillfeather@example.org"),
    ("id", "did:example:quillfeather-0417"),
    ("claim", "grade-summa-cum-laude-7731"),
    ("claim's name", "nickname-of-hers-2284"),
    ("reason to suspend", "suspended-after-complaint-4410"),
    ("reason to reinstate", "reinstated-after-apology-4411"),
    ("reason to revoke", "withdrawn-after-plagiarism-4412"),
    ("secret", "opaque-licence-string-9905"),
    ("secret of a dialect", "opaque-badge-string-9906"),
    ("user agent", "Quillbrowser-77.31"),
    ("network address", "203.0.113.77"),
    ("username", "zofie_quill_8821"),
    ("account's address", "quill.account.5530@example.org"),
    ("first name", "Zofiefirst-3306"),
    ("last name", "Quilllast-4407"),
    ("another first name", "Zofiesecond-3307"),
    ("reason to erase", "her-letter-of-november-5512"),
    ("what was typed for a username", "typed-by-mistake-1190"),
    ("subject at a provider", "external-subject-6619"),
    ("name at a provider", "Zofie Extern-7720"),
];

fn personal(what: &str) -> &'static str {
    PERSONAL.iter().find(|(each, _)| *each == what).unwrap().1
}

/// Stands in clear: the search must find it.
const CONTROL: &str = "control-certificate-type-1188";

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// 16 bytes, or a UUID.
    Id,
    /// 32 bytes: a hash, a keyed reference, a public key.
    Hash,
    /// Hashes, one after the other.
    Hashes,
    /// Wrapped by the master key: a nonce, ciphertext and a tag; or nothing, where a key was destroyed.
    Wrapped,
    /// Encrypted under a key of the vault.
    Sealed,
    /// An event's metadata or payload, which is walked by itself.
    Event,
    /// A word, or words, of the program's own: of small letters, digits and a few signs.
    Word,
    /// A stream's name, or none.
    Stream,
    /// A `did:key`.
    Did,
    /// 8 to 64 hex digits, with what is written before them.
    Hex,
    /// A route's template or a command.
    Route,
    /// A signed checkpoint.
    Note,
    /// What may be there once: a name or ids, by its kind.
    UniqueKey,
    /// Who did it: nobody known, the process itself, or something with an id.
    Actor,
    /// Chosen by those who run it, and public: types of credentials, what organisations and keys are called, workers, a request's id.
    Label,
}

impl Shape {
    fn fits(self, value: &Cbor) -> bool {
        let bytes = value.as_bytes().map(Vec::as_slice);
        let text = value.as_text();
        let made_of = |more: &str| {
            let one = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c);
            text.is_some_and(|text| text.len() <= 80 && text.chars().all(one))
        };
        match self {
            Shape::Id => bytes.is_some_and(|bytes| bytes.len() == 16) || text.is_some_and(|text| Uuid::parse_str(text).is_ok()),
            Shape::Hash => bytes.is_some_and(|bytes| bytes.len() == 32),
            Shape::Hashes => bytes.is_some_and(|bytes| !bytes.is_empty() && bytes.len() % 32 == 0),
            Shape::Wrapped => bytes.is_some_and(|bytes| bytes.is_empty() || bytes.len() > 24 + 16),
            Shape::Sealed => value.deserialized::<Sealed>().is_ok_and(|sealed| sealed.key.parse::<KeyId>().is_ok()),
            Shape::Event => bytes.is_some(),
            Shape::Word => made_of("_-. "),
            Shape::Stream => text.is_some_and(|text| text.is_empty() || text.parse::<Stream>().is_ok()),
            Shape::Did => text.is_some_and(|text| text.starts_with("did:key:z6Mk") && text.len() == 56),
            Shape::Hex => text.is_some_and(|text| {
                let digits = text.trim_start_matches("credence_");
                (8..=64).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
            }),
            Shape::Route => text.is_some_and(|text| policy::May::of(text).is_some()) || made_of(" -"),
            Shape::Note => text.is_some_and(|text| text.contains("/v1/logs/") && text.contains("\n\n\u{2014} ")),
            Shape::UniqueKey => bytes.is_some_and(|bytes| matches!(bytes, [1, ..] if bytes.len() > 33) || matches!(bytes, [2 | 3, ..])),
            Shape::Actor => text.is_some_and(|text| matches!(text, "anonymous" | "system") || text.parse::<Stream>().is_ok()),
            Shape::Label => text.is_some(),
        }
    }
}

/// A value, and where it stands: `vault.subjects.id`, or `KeyCreated.roles`.
type Found = (String, Cbor);

/// Every value of every row of every table of all four stores, but for the migrations' own. The two logs are alike, and so are the
/// generations of a read model.
async fn columns(stores: &Stores, engine: Engine) -> Vec<Found> {
    match engine {
        Engine::Sqlite => {
            let mut found = Vec::new();
            for file in std::fs::read_dir(stores.data_dir()).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "sqlite") {
                    of_sqlite(&path, &mut found);
                }
            }
            found
        }
        Engine::Postgres => of_postgres(&stores.url()).await,
    }
}

fn named(store: &str, table: &str, column: &str) -> String {
    let store = match store.split('-').next().unwrap() {
        "ledger" | "audit" => "log",
        other => other,
    };
    let table = table.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    format!("{store}.{table}.{column}")
}

fn of_sqlite(path: &Path, found: &mut Vec<Found>) {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut tables = connection.prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let store = path.file_stem().unwrap().to_str().unwrap();
    for table in tables {
        let mut rows = connection.prepare(&format!("select * from \"{table}\"")).unwrap();
        let names: Vec<String> = rows.column_names().iter().map(|column| named(store, &table, column)).collect();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for (at, name) in names.iter().enumerate() {
                let value = match row.get_ref(at).unwrap() {
                    ValueRef::Null => continue,
                    ValueRef::Integer(number) => Cbor::from(number),
                    ValueRef::Text(text) => Cbor::from(std::str::from_utf8(text).unwrap()),
                    ValueRef::Blob(bytes) => Cbor::from(bytes.to_vec()),
                    ValueRef::Real(number) => panic!("{name} holds {number}"),
                };
                found.push((name.clone(), value));
            }
        }
    }
}

async fn of_postgres(url: &str) -> Vec<Found> {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let columns = "select table_schema::text, table_name::text, column_name::text, data_type::text from information_schema.columns \
                   join pg_tables on schemaname = table_schema and tablename = table_name \
                   where table_schema not in ('pg_catalog', 'information_schema') and table_name <> '_sqlx_migrations'";
    let columns: Vec<(String, String, String, String)> = sqlx::query_as(columns).fetch_all(&mut connection).await.unwrap();
    let mut found = Vec::new();
    for (schema, table, column, kind) in columns {
        let cast = match kind.as_str() {
            "bytea" => "",
            "bigint" | "integer" | "smallint" => "::bigint",
            "boolean" => "::int::bigint",
            _ => "::text",
        };
        let select = format!("select \"{column}\"{cast} from \"{schema}\".\"{table}\" where \"{column}\" is not null");
        for row in sqlx::query(sqlx::AssertSqlSafe(select)).fetch_all(&mut connection).await.unwrap() {
            let value = match cast {
                "" => Cbor::from(row.get::<Vec<u8>, _>(0)),
                "::text" => Cbor::from(row.get::<String, _>(0)),
                _ => Cbor::from(row.get::<i64, _>(0)),
            };
            found.push((named(&schema, &table, &column), value));
        }
    }
    found
}

/// Every member of every event: of metadata as `metadata.actor`, of a payload as `KeyCreated.roles`; those of arrays one by one.
fn members(log: &[u8]) -> Vec<Found> {
    let mut rest = log;
    let _header: Cbor = ciborium::from_reader(&mut rest).unwrap();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let event: Cbor = ciborium::from_reader(&mut rest).unwrap();
        let field = |name: &str| event.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name)).unwrap().1.clone();
        let kind = field("type").into_text().unwrap();
        for (of, bytes) in [("metadata", field("metadata")), (&kind, field("payload"))] {
            let map: Cbor = ciborium::from_reader(bytes.as_bytes().unwrap().as_slice()).unwrap();
            for (name, value) in map.into_map().unwrap() {
                let name = format!("{of}.{}", name.as_text().unwrap());
                match value {
                    Cbor::Array(items) => found.extend(items.into_iter().map(|item| (name.clone(), item))),
                    value => found.push((name, value)),
                }
            }
        }
    }
    found
}

/// That each value has the shape that is listed for its place. Of a place that is not listed it is told what stands there.
fn require_shapes(found: &[Found]) {
    let listed: BTreeMap<&str, Shape> = SHAPES.iter().flat_map(|(shape, places)| places.iter().map(|place| (*place, *shape))).collect();
    let mut wrong: BTreeMap<&str, String> = BTreeMap::new();
    for (place, value) in found {
        match listed.get(place.as_str()) {
            _ if value.is_integer() || value.is_bool() => {}
            Some(shape) if shape.fits(value) => {}
            Some(shape) => drop(wrong.insert(place, format!("{place} is no {shape:?}: {value:?}"))),
            None => drop(wrong.insert(place, format!("{place} is not classified: {value:?}"))),
        }
    }
    let wrong = Vec::from_iter(wrong.into_values()).join("\n");
    assert!(wrong.is_empty(), "what may stand in clear, and what is sealed or keyed, is listed in SHAPES:\n{wrong}");
}

/// What stands where. Numbers stand anywhere: counts, places, times, truth values.
const SHAPES: &[(Shape, &[&str])] = &[
    (
        Shape::Sealed,
        &[
            "CredentialIssued.document",
            "CredentialReinstated.reason",
            "CredentialRevoked.reason",
            "CredentialSuspended.reason",
            "ErasureOrdered.reason",
            "metadata.details",
        ],
    ),
    (
        Shape::Wrapped,
        &[
            "vault.accounts.wrapped_password",
            "vault.accounts.wrapped_profile",
            "vault.issuer_keys.wrapped_signing_key",
            "vault.issuers.wrapped_sealing_key",
            "vault.log_keys.wrapped_signing_key",
            "vault.month_keys.wrapped_key",
            "vault.sessions.wrapped_agent",
            "vault.settings.lookup_keys",
            "vault.subjects.wrapped_key",
            "vault.token_keys.wrapped_signing_key",
        ],
    ),
    // Keyed: nobody without the vault can tell of whom they are, or whether a guess is right.
    (
        Shape::Hash,
        &[
            "LoginFailed.identifier",
            "log.idempotency.command",
            "log.idempotency.key",
            "vault.accounts.email_ref",
            "vault.accounts.username_ref",
            "vault.subjects.email_ref",
            "vault.subjects.name_ref",
        ],
    ),
    // Of what nobody can guess: salted documents, secrets under a key of the vault, random keys; and hashes of such hashes.
    (
        Shape::Hash,
        &[
            "CredentialIssued.digest",
            "log.events.chain_hash",
            "log.events.event_hash",
            "log.head.chain_hash",
            "read.credentials.digest",
            "read.erased_credentials.digest",
            "read.cursor.chain_hash",
            "read.cursors.chain_hash",
            "read.cursors.digest",
            "read.serving.digest",
            "vault.api_keys.hash",
            "vault.log_keys.public_key",
            "vault.refresh_tokens.hash",
            "vault.token_keys.public_key",
        ],
    ),
    (Shape::Hashes, &["log.tiles.hashes"]),
    (
        Shape::Id,
        &[
            "AccountRegistered.issuer",
            "CredentialIssued.issuer",
            "CredentialIssued.subject_id",
            "CredentialVerified.credential",
            "ErasureOrdered.issuer",
            "ErasureOrdered.subjects",
            "KeyCreated.issuer",
            "KeyReplaced.replaced_by",
            "SessionEnded.account",
            "SessionStarted.account",
            "SubjectErased.issuer",
            "SubjectErased.order",
            "metadata.event_id",
            "read.credentials.id",
            "read.credentials.issuer",
            "read.credentials.subject_id",
            "read.erased_credentials.id",
            "read.erased_credentials.issuer",
            "read.erased_credentials.subject_id",
            "read.erasures.subject_id",
            "read.issuers.id",
            "read.rebuilds.id",
            "read.status_changes.credential",
            "read.verifications.credential",
            "vault.accounts.id",
            "vault.accounts.issuer",
            "vault.api_keys.id",
            "vault.api_keys.issuer",
            "vault.erasures.subject",
            "vault.issuer_keys.issuer",
            "vault.issuers.id",
            "vault.refresh_tokens.session",
            "vault.sessions.account",
            "vault.sessions.id",
            "vault.subjects.id",
            "vault.subjects.issuer",
        ],
    ),
    (Shape::Did, &["IssuerRegistered.did", "read.issuers.did", "vault.issuer_keys.did", "vault.issuers.did"]),
    (Shape::Stream, &["PersonalDataRead.what", "SubjectErased.keys", "log.events.stream", "log.unique_keys.stream"]),
    (Shape::Actor, &["metadata.actor"]),
    (Shape::Route, &["AccessRefused.via", "PersonalDataRead.via"]),
    (
        Shape::Word,
        &[
            "AccessRefused.problem",
            "AccountRegistered.roles",
            "CredentialVerified.cause",
            "CredentialVerified.presented_by",
            "CredentialVerified.status",
            "KeyCreated.roles",
            "LoginFailed.cause",
            "RebuildFinished.projection",
            "RebuildStarted.projection",
            "RolesChanged.roles",
            "SessionEnded.cause",
            "read.cursor.stage",
            "read.cursors.projection",
            "read.cursors.stage",
            "read.rebuilds.failure",
            "read.rebuilds.phase",
            "read.rebuilds.projection",
            "read.serving.projection",
            "vault.accounts.roles",
            "vault.api_keys.roles",
            "vault.checkpoint_guard.log",
            "vault.log_keys.log",
            "vault.month_keys.month",
        ],
    ),
    (Shape::Hex, &["metadata.trace_id", "vault.api_keys.prefix", "vault.token_keys.kid"]),
    (Shape::Note, &["log.checkpoints.note", "vault.checkpoint_guard.note"]),
    (Shape::Event, &["log.events.metadata", "log.events.payload"]),
    (
        Shape::Label,
        &[
            "CredentialIssued.type",
            "IssuerChanged.display_name",
            "IssuerChanged.url",
            "IssuerRegistered.name",
            "KeyCreated.types",
            "log.events.type",
            "log.head.origin",
            "metadata.request_id",
            "metadata.worker",
            "read.credentials.issued_by",
            "read.credentials.type",
            "read.issuers.name",
            "vault.api_keys.name",
            "vault.api_keys.types",
            "vault.issuers.display_name",
            "vault.issuers.name",
            "vault.issuers.url",
            "vault.settings.origin_base",
        ],
    ),
    // Issuer, subject or digest, type of a credential; or an issuer's name.
    (Shape::UniqueKey, &["log.unique_keys.key"]),
];

/// Does every operation, and remembers which were done.
struct Person {
    done: Mutex<BTreeSet<String>>,
}

impl Person {
    /// Does an operation as it should be done, from her network and with her browser.
    async fn does(&self, who: &Session, operation: &str, arguments: &[(&str, &str)], body: Value) -> Answer {
        let (method, template) = operation.split_once(' ').unwrap();
        assert!(policy::May::of(operation).is_some(), "{operation}");
        let mut path = template.to_owned();
        let mut query = Vec::new();
        for (name, value) in arguments {
            match path.contains(&format!("{{{name}}}")) {
                true => path = path.replace(&format!("{{{name}}}"), value),
                false => query.push(format!("{name}={value}")),
            }
        }
        let path = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let request = who.request(method.parse::<Method>().unwrap(), &path);
        let request = request.header("user-agent", personal("user agent")).header("x-forwarded-for", personal("network address"));
        let request = request.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let answer = send(if body.is_null() { request } else { request.json(&body) }).await;
        assert!(answer.status.is_success() || answer.status.is_redirection(), "{operation}: {} {}", answer.status, answer.text);
        self.done.lock().unwrap().insert(operation.to_owned());
        answer
    }
}

fn id_of(answer: &Answer) -> String {
    answer.body["id"].as_str().unwrap().to_owned()
}

async fn nothing_personal_stands_in_clear_wherever_one_looks(engine: Engine) {
    let stores = Stores::new(engine).await;
    let left = tempfile::TempDir::new().unwrap();
    let key = SigningKey::generate("first", Algorithm::ES256);
    let provider = TestProvider::start(&[&key]);
    let mut arguments: Vec<String> =
        ["--store", &stores.url(), "--data-dir", &stores.data_dir().display().to_string()].map(str::to_owned).into();
    if engine == Engine::Postgres {
        let file = stores.data_dir().join("master.key");
        std::fs::write(&file, "5a".repeat(32)).unwrap();
        arguments.extend(["--master-key-file".to_owned(), file.display().to_string()]);
    }
    let stores_given = arguments.clone();
    for (name, value) in [
        ("--log", "debug"),
        ("--log-format", "json"),
        ("--rate-limit", "off"),
        ("--registration", "open"),
        ("--trusted-proxies", "127.0.0.1"),
        ("--checkpoint-interval-s", "1"),
        ("--oidc-issuer", &provider.issuer),
        ("--oidc-audience", AUDIENCE),
        ("--oidc-roles", "cr-issuer=issuer,cr-auditor=auditor"),
    ] {
        arguments.extend([name.to_owned(), value.to_owned()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let temporary = left.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut child = Child::serve_in(left.path(), &arguments, &[("TMPDIR", temporary.to_str().unwrap())]);
    let operator_key = std::fs::read_to_string(stores.data_dir().join("admin.key")).unwrap();
    let (anyone, operator) = (child.anonymous().0, child.admin(&operator_key).0);
    let external = |changes: Value| Session { key: Some(key.sign(&provider.claims(&changes))), ..anyone.clone() };
    let stranger =
        external(json!({"sub": personal("subject at a provider"), "name": personal("name at a provider"), "email": personal("address")}));

    let person = Person { done: Mutex::default() };
    use_everything(&person, &anyone, &operator, &stranger).await;
    let done = person.done.into_inner().unwrap();
    let missing: Vec<&str> = policy::TABLE.iter().map(|(operation, _)| *operation).filter(|operation| !done.contains(*operation)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "every operation is to be done here, with all that is personal in it");

    let metrics = send(operator.request(Method::GET, "/metrics")).await.text;
    let mut haystacks = vec![("metrics".to_owned(), metrics.into_bytes())];
    assert!(child.terminate().success());
    let logged = child.stderr();
    assert!(logged.contains("\"DEBUG\"") && logged.lines().count() > 100, "it logs all it can");
    haystacks.push(("log".to_owned(), logged.into_bytes()));

    // The commands: what they write, and what they leave.
    let file = |name: &str| left.path().join(name).display().to_string();
    let exports = ["ledger", "audit"].map(|log| (log, file(&format!("{log}.export"))));
    let mut commands: Vec<Vec<&str>> = vec![vec!["rebuild"], vec!["fsck"], vec!["keys", "list"], vec!["version"], vec!["migrate"]];
    for (log, export) in &exports {
        commands.push(vec!["export", "--log", log, "--out", export]);
        commands.push(vec!["replay", "--log", log, "--format", "json"]);
        commands.push(vec!["replay", "--log", log, "--format", "cbor"]);
    }
    let run = |arguments: &[&str], given: &[String]| {
        let mut command: Command = support::command(arguments);
        let output = command.args(given).env("TMPDIR", &temporary).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let mut logs = Vec::new();
    for command in &commands {
        let output = run(command, &stores_given);
        if command.last() == Some(&"cbor") {
            logs.extend(members(&output.stdout));
        }
        haystacks.push((command.join(" "), [output.stdout, output.stderr].concat()));
    }
    // What is opened is told to whoever runs the command, and to nobody else.
    haystacks.push(("replay --open".to_owned(), run(&["replay", "--open", "--format", "json"], &stores_given).stderr));
    let copied = left.path().join("copied");
    let to = format!("sqlite:{}", copied.display());
    let master = stores.data_dir().join("master.key").display().to_string();
    let output = run(&["copy", "--from", &stores.url(), "--to", &to, "--master-key-file", &master], &[]);
    haystacks.push(("copy".to_owned(), [output.stdout, output.stderr].concat()));

    // Every column and every member has its shape, and none of the person's details.
    let stored = columns(&stores, engine).await;
    let walked = [stored, logs].concat();
    require_shapes(&walked);
    for (place, value) in &walked {
        let bytes = value.as_bytes().cloned().or_else(|| value.as_text().map(|text| text.as_bytes().to_vec()));
        haystacks.extend(bytes.map(|bytes| (place.clone(), bytes)));
    }
    // Files, to the last byte: stores, write-ahead logs, exports, a copy, whatever was left.
    for folder in [stores.data_dir(), left.path()] {
        files(folder, &mut haystacks);
    }
    assert!(places_of(CONTROL, &haystacks).len() > 5, "the search finds what stands in clear");
    for (what, text) in PERSONAL.iter().chain(&[("password", PASSWORD)]) {
        assert_eq!(places_of(text, &haystacks), Vec::<&str>::new(), "her {what}");
    }
}

/// Every operation there is, with all that is personal in it, at least once as it succeeds.
async fn use_everything(person: &Person, anyone: &Session, operator: &Session, stranger: &Session) {
    let none = Value::Null;
    let subject = json!({"name": personal("name"), "email": personal("address"), "id": personal("id")});
    let claims = json!({"grade": personal("claim"), personal("claim's name"): [{"in": personal("claim")}]});
    let text = |answer: &Answer, member: &str| answer.body[member].as_str().unwrap().to_owned();

    // Accounts and sessions.
    let register = json!({
        "username": personal("username"), "email": personal("account's address"), "password": PASSWORD,
        "first_name": personal("first name"), "last_name": personal("last name"),
    });
    let account = id_of(&person.does(anyone, "POST /v1/auth/register", &[], register).await);
    person.does(operator, "PUT /v1/accounts/{id}/roles", &[("id", &account)], json!({"roles": ["issuer", "auditor"]})).await;
    let login = json!({"identifier": personal("username"), "password": PASSWORD});
    let first = person.does(anyone, "POST /v1/auth/login", &[], login.clone()).await;
    let by_address = json!({"identifier": personal("account's address"), "password": PASSWORD});
    let begun = person.does(anyone, "POST /v1/auth/login", &[], by_address).await;
    let refreshed = person.does(anyone, "POST /v1/auth/refresh", &[], json!({"refresh_token": text(&begun, "refresh_token")})).await;
    let her = Session { key: Some(text(&refreshed, "access_token")), ..anyone.clone() };
    let other = Session { key: Some(text(&first, "access_token")), ..anyone.clone() };
    for _ in 0..2 {
        let wrong = json!({"identifier": personal("what was typed for a username"), "password": PASSWORD});
        let refused = send(anyone.request(Method::POST, "/v1/auth/login").header("user-agent", personal("user agent")).json(&wrong)).await;
        assert_eq!(refused.status, 401);
    }
    person.does(&her, "GET /v1/me", &[], none.clone()).await;
    person.does(stranger, "GET /v1/me", &[], none.clone()).await;
    person.does(&her, "PATCH /v1/me", &[], json!({"first_name": personal("another first name")})).await;
    person
        .does(&her, "PUT /v1/me/password", &[], json!({"current_password": PASSWORD, "new_password": format!("{PASSWORD}, again")}))
        .await;
    let again = json!({"identifier": personal("username"), "password": format!("{PASSWORD}, again")});
    let second = person.does(anyone, "POST /v1/auth/login", &[], again).await;
    let sessions = person.does(&her, "GET /v1/me/sessions", &[], none.clone()).await;
    let last = sessions.body["items"].as_array().or(sessions.body.as_array()).unwrap().iter().find(|one| one["current"] != true).unwrap();
    person.does(&her, "DELETE /v1/me/sessions/{id}", &[("id", last["id"].as_str().unwrap())], none.clone()).await;
    drop((other, second));
    person.does(operator, "GET /v1/accounts", &[], none.clone()).await;
    person.does(operator, "GET /v1/accounts/{id}", &[("id", &account)], none.clone()).await;
    person.does(&her, "POST /v1/auth/introspect", &[], json!({"token": text(&refreshed, "access_token")})).await;

    // Organisations and keys.
    let issuer = id_of(&person.does(operator, "POST /v1/issuers", &[], json!({"name": "acme"})).await);
    let told = json!({"display_name": "Acme Ltd", "url": "https://acme.example"});
    person.does(operator, "PATCH /v1/issuers/{id}", &[("id", &issuer)], told).await;
    person.does(operator, "GET /v1/issuers", &[], none.clone()).await;
    person.does(operator, "GET /v1/issuers/{id}", &[("id", &issuer)], none.clone()).await;
    let limited = json!({"roles": ["issuer"], "types": [CONTROL], "expires_at": "2999-01-31T12:00:00Z", "name": "the shop's"});
    let key = id_of(&person.does(operator, "POST /v1/keys", &[], limited).await);
    let next = id_of(&person.does(operator, "POST /v1/keys/{id}/rotate", &[("id", &key)], json!({})).await);
    person.does(operator, "GET /v1/keys", &[], none.clone()).await;
    person.does(operator, "GET /v1/keys/{id}", &[("id", &next)], none.clone()).await;
    person.does(operator, "DELETE /v1/keys/{id}", &[("id", &next)], none.clone()).await;

    // Credentials, by the account, by a stranger, by the dialects.
    let body = json!({
        "type": CONTROL, "subject": subject, "claims": claims, "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2999-01-01T00:00:00Z", "receipt": true,
    });
    let request =
        her.request(Method::POST, "/v1/credentials").header("idempotency-key", "once").header("user-agent", personal("user agent"));
    let issued = send(request.json(&body)).await.expect(201);
    let credential = id_of(&issued);
    person.does(stranger, "POST /v1/credentials", &[], json!({"type": "another", "subject": subject, "claims": claims})).await;
    let secret = id_of(&person.does(&her, "POST /v1/credentials", &[], json!({"type": CONTROL, "secret": personal("secret")})).await);
    let dialect = json!({"name": personal("name"), "email": personal("address"), "credentialType": "third", "metadata": claims});
    let third = person.does(&her, "POST /issuance/credentials", &[], dialect).await.body["credential"]["id"].as_str().unwrap().to_owned();
    let hashed = person.does(&her, "POST /issue", &[], json!({"credential": personal("secret of a dialect")})).await;
    person.does(anyone, "POST /check", &[], json!({"credential_hash": hashed.body["credential_hash"]})).await;
    person.does(anyone, "POST /verify", &[], json!({"credential": personal("secret of a dialect")})).await;
    let holder = json!({"id": third, "name": personal("name"), "email": personal("address")});
    person.does(anyone, "POST /verification/credentials", &[], holder).await;
    for (id, what) in [(&credential, "her own"), (&secret, "a secret's")] {
        let arguments = [("id", id.as_str())];
        person.does(&her, "POST /v1/credentials/{id}/suspend", &arguments, json!({"reason": personal("reason to suspend")})).await;
        person.does(&her, "POST /v1/credentials/{id}/reinstate", &arguments, json!({"reason": personal("reason to reinstate")})).await;
        let read = person.does(&her, "GET /v1/credentials/{id}", &arguments, none.clone()).await;
        assert_eq!(read.body["status"], "active", "{what}");
    }
    for asked in [
        json!({"id": credential, "subject": {"name": personal("name"), "email": personal("address")}}),
        json!({"id": credential, "subject": {"name": "Somebody Else", "email": personal("address")}}),
        json!({"document": issued.body["document"]}),
        json!({"digest": issued.body["digest"]}),
        json!({"secret": personal("secret")}),
        json!({"secret": personal("name")}),
    ] {
        person.does(anyone, "POST /v1/verifications", &[], asked.clone()).await;
        person.does(stranger, "POST /v1/verifications", &[], asked).await;
    }
    let search = json!({"name": personal("name"), "email": personal("address")});
    let found = person.does(&her, "POST /v1/credentials/search", &[], search).await;
    assert_eq!(found.body["items"].as_array().unwrap().len(), 3);
    person.does(&her, "GET /v1/credentials", &[("type", CONTROL)], none.clone()).await;
    let one = [("id", credential.as_str())];
    person.does(&her, "GET /v1/credentials/{id}/receipt", &one, none.clone()).await;
    for operation in ["GET /v1/credentials/{id}/events", "GET /v1/credentials/{id}/verifications"] {
        person.does(&her, operation, &one, none.clone()).await;
    }
    for id in [&credential, &secret] {
        let reason = json!({"reason": personal("reason to revoke")});
        person.does(&her, "POST /v1/credentials/{id}/revoke", &[("id", id)], reason).await;
    }
    // Everything that is held about her; and, last, that she be forgotten by the organisation of somebody who is erased.
    let asked = json!({"email": personal("address"), "name": personal("name")});
    person.does(operator, "POST /v1/subjects/exports", &[], asked).await;
    let order = json!({"email": personal("address"), "name": personal("name"), "reason": personal("reason to erase"), "dry_run": true});
    person.does(operator, "POST /v1/subjects/erasures", &[], order).await;
    let other = json!({"type": CONTROL, "subject": {"name": personal("name"), "email": format!("other.{}", personal("address"))}});
    person.does(&her, "POST /v1/credentials", &[], other).await;
    let order = json!({"email": format!("other.{}", personal("address")), "reason": personal("reason to erase")});
    person.does(operator, "POST /v1/subjects/erasures", &[], order).await;
    // What does not fit is refused, and not repeated anywhere.
    for (path, body) in [
        ("/v1/credentials", json!({"type": 7, "subject": {"name": [personal("name")], "email": personal("reason to revoke")}})),
        ("/v1/credentials", json!({"type": "t", "subject": {"name": personal("name"), "email": personal("name"), personal("claim"): 1}})),
        ("/v1/auth/register", json!({"username": personal("name"), "email": personal("username"), "password": "short"})),
        ("/issuance/credentials", json!({"name": personal("name"), "email": personal("name")})),
    ] {
        let refused = send(her.request(Method::POST, path).header("user-agent", personal("user agent")).json(&body)).await;
        assert!(refused.status.is_client_error(), "{path}: {}", refused.text);
    }
    let query = format!("/v1/credentials?unknown={}", personal("username"));
    send(her.request(Method::GET, &query)).await.expect(422);
    send(her.request(Method::GET, &format!("/nowhere/{}", personal("username")))).await.expect(404);
    send(her.request(Method::GET, "/v1/services").header("user-agent", personal("user agent"))).await.expect(403);

    // Logs, trees, read models, the service.
    for log in ["ledger", "audit"] {
        for (operation, arguments) in [
            ("GET /v1/logs/{log}/events", &[("open", "true"), ("limit", "1000")][..]),
            ("GET /v1/logs/{log}/events", &[]),
            ("GET /v1/logs/{log}/keys", &[]),
            ("GET /v1/logs/{log}/checkpoint", &[]),
            ("GET /v1/logs/{log}/tile/{tile}", &[("tile", "0/000.p/1")]),
            ("GET /v1/logs/{log}/proofs/inclusion", &[("position", "0")]),
            ("GET /v1/logs/{log}/proofs/consistency", &[("from", "1")]),
        ] {
            let arguments: Vec<(&str, &str)> = arguments.iter().copied().chain([("log", log)]).collect();
            person.does(operator, operation, &arguments, none.clone()).await;
        }
    }
    person.does(operator, "GET /v1/projections", &[], none.clone()).await;
    let name = ("name", "verification");
    let rebuild = person.does(operator, "POST /v1/projections/{name}/rebuilds", &[name], none.clone()).await;
    let at = rebuild.header("location").rsplit('/').next().unwrap().to_owned();
    person.does(operator, "GET /v1/projections/{name}/rebuilds/{id}", &[name, ("id", &at)], none.clone()).await;
    for operation in [
        "GET /v1/services",
        "GET /.well-known/jwks.json",
        "GET /docs",
        "GET /health",
        "GET /health/live",
        "GET /health/ready",
        "GET /metrics",
        "GET /openapi.json",
        "GET /problems",
    ] {
        person.does(operator, operation, &[], none.clone()).await;
    }
    person.does(anyone, "GET /docs/{file}", &[("file", "index.html")], none.clone()).await;
    person.does(anyone, "GET /problems/{name}", &[("name", "erased")], none.clone()).await;
    person.does(&her, "POST /v1/auth/logout", &[], none.clone()).await;
    person.does(operator, "POST /v1/accounts/{id}/deactivate", &[("id", &account)], none.clone()).await;
    person.does(operator, "POST /v1/accounts/{id}/activate", &[("id", &account)], none).await;
}

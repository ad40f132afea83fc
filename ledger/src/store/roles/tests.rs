//! Each role under a login of its own: what it needs goes through, what it must not do is denied.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection};

use super::*;
use crate::event::audit::KeyRevoked;
use crate::event::{New, Origination};
use crate::log::{Append, CommitError, Expected, Idempotency, Log, Outcome, Query, UniqueKey};
use crate::random::SystemRandom;
use crate::sealing::KeyId;
use crate::stream::category;
use crate::testing::postgres::Database;
use crate::vault::issuers::ProfileChange;
use crate::vault::rows::Keyring;
use crate::vault::{self, MasterKey, Organisations, Role, SessionStore, SubjectRefs, Terms, Vault, Worker};
use crate::vault::{Erasures as _, Rotations as _};
use crate::{Clock, LogName, Position, Stream, Timestamp, log};

const PASSWORD: &str = "not-a-secret";

/// A whole store on one database, with a login for each role.
struct Store {
    database: Database,
    suffix: String,
}

impl Store {
    async fn create() -> Store {
        let database = Database::create().await;
        let url = database.url.as_str();
        for name in [LogName::LEDGER, LogName::AUDIT] {
            open_log(url, name).await.unwrap();
        }
        open_vault(url).await.unwrap();
        let suffix = hex::encode(crate::random::bytes::<6>(&SystemRandom));
        let store = Store { database, suffix };
        grant(&store.database.url).await;
        for role in ["issuance", "verification", "projector"] {
            let login = store.login(role);
            store.as_owner(&format!("create role {login} login password '{PASSWORD}' in role credence_{role}")).await.unwrap();
        }
        store
    }

    fn login(&self, role: &str) -> String {
        format!("test_{role}_{}", self.suffix)
    }

    fn url(&self, role: &str) -> String {
        self.database.url_as(&self.login(role), PASSWORD)
    }

    async fn as_owner(&self, statement: &str) -> Result<(), Error> {
        execute(&self.database.url, statement).await
    }

    async fn denied(&self, role: &str, statements: &[&str]) {
        for statement in statements {
            let answer = execute(&self.url(role), statement).await;
            assert!(matches!(answer, Err(Error::Denied(_))), "{role}: {statement}: {answer:?}");
        }
    }

    async fn allowed(&self, role: &str, statements: &[&str]) {
        for statement in statements {
            let answer = execute(&self.url(role), statement).await;
            assert!(answer.is_ok(), "{role}: {statement}: {answer:?}");
        }
    }
}

impl Drop for Store {
    /// Logins belong to the server, not to the database. Best effort.
    fn drop(&mut self) {
        let (url, logins) = (self.database.url.clone(), ["issuance", "verification", "projector"].map(|role| self.login(role)));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for login in logins {
                    let _ = execute(&url, &format!("drop owned by {login}; drop role {login}")).await;
                }
            });
        });
        let _ = dropping.join();
    }
}

async fn grant(url: &str) {
    grant_roles(url).await.unwrap();
    grant_read_roles(url).await.unwrap();
}

async fn execute(url: &str, statement: &str) -> Result<(), Error> {
    let mut connection = PgConnection::connect(url).await.map_err(super::super::postgres::error)?;
    bounded(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection)).await.map(drop)
}

async fn open_log(url: &str, name: LogName) -> Result<log::postgres::Postgres, Error> {
    log::postgres::Postgres::open(url, name, Some("roles.example"), None, Durability::Durable).await
}

async fn open_vault(url: &str) -> Result<vault::postgres::Postgres, vault::OpenError> {
    let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(SystemRandom));
    vault::postgres::Postgres::open(url, keyring, None, Durability::Durable).await
}

fn now() -> Timestamp {
    crate::clock::SystemClock.now()
}

/// An append that uses all that an append can use.
fn append() -> Vec<Append> {
    let stream = Stream::new(category::KEY, crate::random::uuid_v7(now(), &SystemRandom));
    let event = New::of(&KeyRevoked {}, &Origination::system("test").metadata(&SystemRandom));
    let key = UniqueKey::issuer_name(stream.as_str());
    let idempotency = Idempotency { key: crate::random::bytes(&SystemRandom), command: [1; 32], kept: std::time::Duration::from_secs(60) };
    vec![Append { claims: vec![(key, stream.clone())], idempotency: Some(idempotency), ..Append::to(stream, Expected::None, vec![event]) }]
}

/// Enough commits for the log's end to be met where it was left: the later ones are single statements.
async fn append_on_both_ways(log: &log::postgres::Postgres) {
    for _ in 0..5 {
        assert!(matches!(&log.commit(append()).await.unwrap()[..], [Outcome::Appended(_)]));
    }
}

fn worker() -> Worker {
    Worker {
        instance: crate::random::uuid_v7(now(), &SystemRandom),
        name: "test".to_owned(),
        role: "all".to_owned(),
        version: "0".to_owned(),
        started_at: now(),
        last_seen_at: now(),
        cursors: "{}".to_owned(),
        master_keys: Vec::new(),
    }
}

/// What every role does in the vault.
async fn lives_in(vault: &vault::postgres::Postgres, text: &str) {
    let key = vault.find_key(text).await.unwrap().unwrap();
    vault.touch_keys(&[(key.id, now())]).await.unwrap();
    vault.month_key("2026-01").await.unwrap();
    vault.month_key(&now().month()).await.unwrap();
    vault.session(key.id).await.unwrap();
    vault.token_keys().await.unwrap();
    vault.issuers().await.unwrap();
    vault.ping().await.unwrap();
    vault.follow_master_key().await.unwrap();
    let worker = worker();
    vault.heartbeat(&worker, Timestamp::EPOCH).await.unwrap();
    vault.heartbeat(&worker, Timestamp::EPOCH).await.unwrap();
    vault.goodbye(worker.instance).await.unwrap();
}

/// What nobody may do, whatever the role.
const NEVER: &[&str] = &[
    "update ledger.events set type = 'x'",
    "delete from ledger.events",
    "truncate ledger.events",
    "alter table ledger.events disable trigger all",
    "update audit.events set type = 'x'",
    "delete from audit.events",
    "truncate audit.events",
    "alter table audit.events disable trigger all",
    "delete from audit.head",
    "delete from ledger.head",
    "insert into ledger._sqlx_migrations values (99, '', now(), true, '', 0)",
    "insert into vault._sqlx_migrations values (99, '', now(), true, '', 0)",
    "create table ledger.mine (x integer)",
    "create table vault.mine (x integer)",
    "create role mine_all_mine",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuance_appends_to_both_logs_uses_the_vault_and_reads_the_read_store() {
    let store = Store::create().await;
    let url = store.url("issuance");
    for name in [LogName::LEDGER, LogName::AUDIT] {
        let log = open_log(&url, name).await.unwrap();
        append_on_both_ways(&log).await;
        assert_eq!(log.read(&Query::from(Position::FIRST, 10)).await.unwrap().len(), 5);
        log.keys(None, 10).await.unwrap();
        assert_eq!(log.forget_commands(&[Position(0)]).await.unwrap(), 1);
        assert_eq!(log.forget_idempotency(Timestamp::MAX).await.unwrap(), 5);
    }
    let vault = open_vault(&url).await.unwrap();
    let issuer = vault.ensure_issuer("default", now()).await.unwrap();
    let (key, text) = vault.create_key(&Terms::of(Role::Admin, issuer.id), now()).await.unwrap();
    let next = vault.next_issuer_key(issuer.id).await.unwrap().unwrap();
    vault.use_issuer_key(issuer.id, &next).await.unwrap();
    assert_eq!(vault.issuer_keys(issuer.id).await.unwrap().len(), 2);
    assert!(vault.signing_key(&issuer.did).await.unwrap().is_some());
    let told = ProfileChange { display_name: Some(Some("Default".to_owned())), url: None };
    assert!(vault.change_organisation(issuer.id, &told).await.unwrap());
    assert!(vault.deactivate_organisation(issuer.id, Some(now())).await.unwrap());
    assert_eq!(vault.organisations(None, 10).await.unwrap(), [vault.organisation(issuer.id).await.unwrap().unwrap()]);
    assert_eq!(vault.owners(&[key.id]).await.unwrap(), [(key.id, issuer.id)].into());
    assert!(vault.owners_of_logins(&[[1; 32]]).await.unwrap().is_empty());
    let refs = SubjectRefs { issuer: issuer.id, name: [1; 32], email: [2; 32] };
    let subject = vault.subjects(&[refs], now()).await.unwrap().remove(0);
    assert_eq!(vault.open_keys(&[KeyId::Subject(subject.id)]).await.unwrap().len(), 1);
    assert_eq!(vault.find_subjects(None, Some(&[[2; 32]])).await.unwrap(), [(subject.id, issuer.id)]);
    let ledger = open_log(&url, LogName::LEDGER).await.unwrap();
    for _ in 0..5 {
        let relying = Append { relies_on: vec![subject.id], ..append().remove(0) };
        assert!(matches!(&ledger.commit(vec![relying]).await.unwrap()[..], [Outcome::Appended(_)]));
    }
    vault.note_erasures(&[subject.id], now()).await.unwrap();
    assert_eq!(vault.forget_subjects(&[subject.id]).await.unwrap(), 1);
    vault.settle_erasures(&[subject.id]).await.unwrap();
    assert!(vault.noted_erasures().await.unwrap().is_empty());
    drop(vault.first_start().await.unwrap());
    lives_in(&vault, &text).await;
    vault.forget_months(&["2025-12".to_owned(), "2026-01".to_owned()]).await.unwrap();
    assert!(vault.workers(Timestamp::EPOCH).await.unwrap().is_empty());
    vault.revoke_key(key.id, now()).await.unwrap();

    store.as_owner("set role credence_projector; create table read.cursors (x integer)").await.unwrap();
    store.allowed("issuance", &["select * from read.cursors"]).await;
    store
        .denied("issuance", &["insert into read.cursors values (1)", "create table read.mine (x integer)", "drop table read.cursors"])
        .await;
    let kept = [
        "delete from vault.issuer_keys",
        "update vault.issuer_keys set wrapped_signing_key = ''",
        "truncate vault.issuer_keys",
        "insert into vault.master_key_rotation (from_key, to_key, stage) values ('', '', 'done')",
        "update vault.master_key_rotation set stage = 'done'",
    ];
    store.denied("issuance", &kept).await;
    store.denied("issuance", NEVER).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_reads_references_and_the_read_store_and_nothing_of_the_ledger() {
    let store = Store::create().await;
    let owner = open_vault(&store.database.url).await.unwrap();
    let issuer = owner.ensure_issuer("default", now()).await.unwrap();
    let (_, text) = owner.create_key(&Terms::of(Role::Auditor, issuer.id), now()).await.unwrap();
    let refs = SubjectRefs { issuer: issuer.id, name: [1; 32], email: [2; 32] };
    let subject = owner.subjects(&[refs], now()).await.unwrap().remove(0);

    let url = store.url("verification");
    assert!(matches!(open_log(&url, LogName::LEDGER).await, Err(Error::Denied(_))));
    let audit = open_log(&url, LogName::AUDIT).await.unwrap();
    append_on_both_ways(&audit).await;
    let vault = open_vault(&url).await.unwrap();
    assert_eq!(vault.lookup().secret(b"x"), owner.lookup().secret(b"x"));
    assert_eq!(vault.subject_refs(&[subject.id]).await.unwrap(), [Some(refs)]);
    lives_in(&vault, &text).await;
    assert!(matches!(vault.open_keys(&[KeyId::Subject(subject.id)]).await, Err(Error::Denied(_))));
    assert!(matches!(vault.subjects(&[refs], now()).await, Err(Error::Denied(_))));
    assert!(matches!(vault.issuer_key(issuer.id).await, Err(Error::Denied(_))));
    assert!(matches!(vault.create_key(&Terms::of(Role::Admin, issuer.id), now()).await, Err(Error::Denied(_))));
    assert!(matches!(vault.deactivate_organisation(issuer.id, None).await, Err(Error::Denied(_))));

    store.as_owner("set role credence_projector; create table read.cursors (x integer)").await.unwrap();
    store.allowed("verification", &["select * from read.cursors", "select id, issuer, name_ref, email_ref from vault.subjects"]).await;
    let mut denied = vec![
        "select * from ledger.events",
        "select * from ledger.head",
        "select * from ledger.unique_keys",
        "select * from ledger.idempotency",
        "insert into ledger.head default values",
        "select wrapped_key from vault.subjects",
        "select * from vault.subjects",
        "select count(wrapped_key) from vault.subjects",
        "delete from vault.subjects",
        "select * from vault.erasures",
        "update vault.subjects set name_ref = name_ref",
        "select * from vault.issuers",
        "select * from vault.issuer_keys",
        "select did from vault.issuer_keys",
        "select wrapped_profile from vault.accounts",
        "select wrapped_password from vault.accounts",
        "select username_ref from vault.accounts",
        "update vault.accounts set roles = 'operator'",
        "update vault.sessions set ended_at = null",
        "select * from vault.refresh_tokens",
        "select wrapped_signing_key from vault.token_keys",
        "insert into vault.issuer_keys default values",
        "update vault.settings set origin_base = 'x'",
        "update vault.api_keys set roles = 'admin'",
        "update vault.api_keys set revoked_at = null",
        "delete from vault.api_keys",
        "update vault.month_keys set wrapped_key = wrapped_key",
        "delete from vault.month_keys",
        "select name from vault.workers",
        "delete from vault.workers",
        "insert into read.cursors values (1)",
        "create table read.mine (x integer)",
    ];
    denied.extend(NEVER);
    store.denied("verification", &denied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_reads_both_logs_owns_the_read_store_and_knows_no_subject() {
    let store = Store::create().await;
    let owner = open_vault(&store.database.url).await.unwrap();
    let issuer = owner.ensure_issuer("default", now()).await.unwrap();
    let (_, text) = owner.create_key(&Terms::of(Role::Auditor, issuer.id), now()).await.unwrap();
    open_log(&store.database.url, LogName::LEDGER).await.unwrap().commit(append()).await.unwrap();

    let url = store.url("projector");
    let ledger = open_log(&url, LogName::LEDGER).await.unwrap();
    assert_eq!(ledger.head().await.unwrap().size, 1);
    assert_eq!(ledger.read(&Query::from(Position::FIRST, 10)).await.unwrap().len(), 1);
    assert!(matches!(ledger.commit(append()).await, Err(CommitError::NotCommitted(Error::Denied(_)))));
    let audit = open_log(&url, LogName::AUDIT).await.unwrap();
    append_on_both_ways(&audit).await;
    let vault = open_vault(&url).await.unwrap();
    lives_in(&vault, &text).await;

    let mut denied = vec![
        "insert into ledger.events default values",
        "update ledger.head set size = 0",
        "insert into ledger.unique_keys values ('', '', 0)",
        "select id from vault.subjects",
        "select name_ref from vault.subjects",
        "select wrapped_key from vault.subjects",
        "select * from vault.issuers",
        "select * from vault.issuer_keys",
        "select did from vault.issuer_keys",
        "select wrapped_profile from vault.accounts",
        "select wrapped_password from vault.accounts",
        "select username_ref from vault.accounts",
        "update vault.accounts set roles = 'operator'",
        "update vault.sessions set ended_at = null",
        "select * from vault.refresh_tokens",
        "select wrapped_signing_key from vault.token_keys",
        "update vault.api_keys set roles = 'admin'",
        "delete from vault.month_keys",
        "delete from vault.workers",
    ];
    denied.extend(NEVER);
    store.denied("projector", &denied).await;
}

#[tokio::test]
async fn what_a_projectors_login_makes_belongs_to_all_projectors_and_is_read_by_the_others() {
    let store = Store::create().await;
    let sessions = Sessions::new(&store.url("projector"), "read", Durability::Derived).unwrap().as_owner();
    let mut session = sessions.connect().await.unwrap();
    sqlx::raw_sql("create table credentials_1 (x integer)").execute(&mut session).await.unwrap();
    store.allowed("issuance", &["select * from read.credentials_1"]).await;
    store.allowed("verification", &["select * from read.credentials_1"]).await;
    let other = store.login("projector") + "_other";
    store.as_owner(&format!("create role {other} login password '{PASSWORD}' in role credence_projector")).await.unwrap();
    let url = store.database.url_as(&other, PASSWORD);
    let sessions = Sessions::new(&url, "read", Durability::Derived).unwrap().as_owner();
    sqlx::raw_sql("drop table credentials_1").execute(&mut sessions.connect().await.unwrap()).await.unwrap();
    store.as_owner(&format!("drop role {other}")).await.unwrap();
    // Who is no member of the owner stays who it is.
    let readers = Sessions::new(&store.url("verification"), "read", Durability::Derived).unwrap().as_owner();
    let user: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut readers.connect().await.unwrap()).await.unwrap();
    assert_eq!(user, store.login("verification"));
}

#[tokio::test]
async fn rights_can_be_granted_again_and_taken_over_from_an_owner() {
    let database = Database::create().await;
    execute(&database.url, "create schema read; create table read.old (x integer)").await.unwrap();
    // Neither logs nor vault are there yet.
    grant(&database.url).await;
    open_log(&database.url, LogName::LEDGER).await.unwrap();
    grant(&database.url).await;
    grant(&database.url).await;
    execute(&database.url, "set role credence_projector; drop table read.old").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_granted_by_any_number_at_once() {
    let database = Database::create().await;
    let url = database.url.as_str();
    for name in [LogName::LEDGER, LogName::AUDIT] {
        open_log(url, name).await.unwrap();
    }
    open_vault(url).await.unwrap();
    grant_roles(url).await.unwrap();
    for _ in 0..5 {
        let (all, read) = ((0..4).map(|_| grant_roles(url)), (0..4).map(|_| grant_read_roles(url)));
        let (all, read) = tokio::join!(futures::future::try_join_all(all), futures::future::try_join_all(read));
        all.unwrap();
        read.unwrap();
    }
}

#[tokio::test]
async fn a_login_that_may_not_make_roles_is_denied_and_may_still_open_what_is_up_to_date() {
    let store = Store::create().await;
    assert!(matches!(grant_roles(&store.url("issuance")).await, Err(Error::Denied(_))));
    store.as_owner("delete from ledger._sqlx_migrations").await.unwrap();
    assert!(matches!(open_log(&store.url("issuance"), LogName::LEDGER).await, Err(Error::NotMigrated)));
    open_log(&store.url("issuance"), LogName::AUDIT).await.unwrap();
}

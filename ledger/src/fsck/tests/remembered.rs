//! Idempotency rows that remember what cannot be, on either engine.

use std::time::Duration;

use super::*;
use crate::event::subject::SubjectErased;
use crate::log::{Idempotency, Restore};
use crate::testing::postgres::Database;
use crate::vault::rows::Keyring;
use crate::vault::{self, Erasures as _, MasterKey, Vault};

fn under(key: u8, append: Append) -> Append {
    Append { idempotency: Some(Idempotency { key: [key; 32], command: [key; 32], kept: Duration::from_secs(3600) }), ..append }
}

/// The log that the tests damage, each commit a second after the one before:
///
/// ```text
/// 0 Ada's credential    1 that is suspended    2 Bob's credential    3, 4 two others, at once    5 Ada is erased
/// ```
///
/// All are asked for under keys, and what was asked for of Ada is forgotten. Answers her id.
async fn ask(log: &dyn Log, clock: &ManualClock) -> Uuid {
    let (issuer, ada) = (id(), id());
    let (first, (credential, _)) = issue(issuer, ada);
    let suspend = Append::to(credential, Expected::Any, vec![encode(&CredentialSuspended { reason: None })]);
    let others: Vec<Append> = [4, 5].into_iter().map(|key| under(key, issue(issuer, id()).0)).collect();
    let erased = encode(&SubjectErased { keys: Vec::new(), order: id(), issuer, credentials: 1 });
    let erase = Append::to(Stream::subject(ada), Expected::None, vec![erased]);
    for batch in [vec![under(1, first)], vec![under(2, suspend)], vec![under(3, issue(issuer, id()).0)], others, vec![under(6, erase)]] {
        clock.advance(Duration::from_secs(1));
        log.commit(batch).await.unwrap();
    }
    assert_eq!(log.forget_commands(&[Position(0), Position(1)]).await.unwrap(), 2);
    ada
}

pub(super) async fn vault(folder: &std::path::Path) -> vault::sqlite::Sqlite {
    let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(SystemRandom));
    vault::sqlite::Sqlite::open(folder, keyring, Some("fsck.example")).await.unwrap()
}

async fn told(log: &dyn Restore, vault: Option<&dyn Vault>) -> Vec<String> {
    let mut told = Vec::new();
    let findings = remembered(log, vault, &mut |finding| told.push(finding.to_string())).await.unwrap();
    assert_eq!(findings, told.len() as u64);
    told
}

const HASH: &str = "0101010101010101010101010101010101010101010101010101010101010101";

/// A row, what is done to it, and how what is found of it begins.
type Damage = (u64, &'static str, Option<&'static str>);

const DAMAGES: [Damage; 8] = [
    (1, "position = 1", None),
    (1, "position = 2", Some("ledger@2 idempotency: the key 02020202")),
    (1, "position = 99999", Some("ledger@99999 idempotency: the key 02020202")),
    (3, "position = 4", Some("ledger@4 idempotency: the keys 0")),
    (2, "recorded_at = recorded_at + 1", Some("ledger@2 idempotency: the key 03030303")),
    (2, "command = NOTHING", Some("ledger@2 idempotency: what was asked for under the key 03030303")),
    (0, "command = SOMETHING", Some("ledger@0 idempotency: what was asked for under the key 01010101")),
    (2, "position = -1", Some("ledger idempotency: the table cannot be read: ")),
];

async fn damaged(log: &dyn Restore, vault: &dyn Vault, damage: impl AsyncFn(String), literal: impl Fn(&str) -> String) {
    assert_eq!((told(log, None).await, told(log, Some(vault)).await), (vec![], vec![]));
    for (row, change, expected) in DAMAGES {
        let change = change.replace("NOTHING", &literal("")).replace("SOMETHING", &literal(HASH));
        damage("create table kept as select * from idempotency".to_owned()).await;
        damage(format!("update idempotency set {change} where position = {row}")).await;
        let found = told(log, Some(vault)).await;
        assert!(
            match expected {
                None => found.is_empty(),
                Some(expected) => found.len() == 1 && found[0].starts_with(expected),
            },
            "{change}: {found:?}"
        );
        damage("delete from idempotency; insert into idempotency select * from kept; drop table kept".to_owned()).await;
    }
    assert_eq!(told(log, Some(vault)).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_row_that_remembers_what_cannot_be_is_named_on_sqlite() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(noon())));
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", clock.clone()).await.unwrap();
    ask(&log, &clock).await;
    let file = sqlite::path(folder.path(), &LogName::LEDGER);
    let damage = async |statements: String| Connection::open(&file).unwrap().execute_batch(&statements).unwrap();
    damaged(&log, &vault(folder.path()).await, damage, |hash| format!("x'{hash}'")).await;
}

#[tokio::test]
async fn a_row_that_remembers_what_cannot_be_is_named_on_postgres() {
    let (database, folder, clock) = (Database::create().await, tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(noon())));
    let log = Postgres::open(&database.url, LogName::LEDGER, Some("fsck.example"), Some(clock.clone()), Durability::Durable).await.unwrap();
    ask(&log, &clock).await;
    let damage = async |statements: String| {
        let mut raw = sqlx::PgConnection::connect(&database.url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set search_path = ledger; {statements}"))).execute(&mut raw).await.unwrap();
    };
    damaged(&log, &vault(folder.path()).await, damage, |hash| format!("'\\x{hash}'::bytea")).await;
}

#[tokio::test]
async fn what_is_remembered_of_an_erasure_that_is_under_way_is_forgotten_by_it() {
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(noon())));
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", clock.clone()).await.unwrap();
    let (ada, vault) = (ask(&log, &clock).await, vault(folder.path()).await);
    let file = sqlite::path(folder.path(), &LogName::LEDGER);
    Connection::open(file).unwrap().execute_batch(&format!("update idempotency set command = x'{HASH}' where position = 0")).unwrap();
    assert_eq!((told(&log, None).await.len(), told(&log, Some(&vault)).await.len()), (0, 1));
    vault.note_erasures(&[ada], noon()).await.unwrap();
    assert_eq!(told(&log, Some(&vault)).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_nobody_asks_for_under_a_key_is_named_among_many() {
    let (memory, issuer) =
        (Memory::new(LogName::LEDGER, Origin::new("fsck.example", &LogName::LEDGER), Arc::new(ManualClock::at(noon()))), id());
    let many = (0..2 * PAGE).map(|at| {
        let key = blake3::hash(&at.to_be_bytes()).into();
        Append { idempotency: Some(Idempotency { key, command: [1; 32], kept: Duration::from_secs(1) }), ..issue(issuer, id()).0 }
    });
    memory.commit(many.collect()).await.unwrap();
    assert_eq!(told(&memory, None).await, Vec::<String>::new());
    let registered = IssuerRegistered { did: "did:key:z6Mk".to_owned(), name: "acme".to_owned() };
    memory.commit(vec![under(7, Append::to(Stream::issuer(issuer), Expected::None, vec![encode(&registered)]))]).await.unwrap();
    let told = told(&memory, None).await;
    assert!(told.len() == 1 && told[0].starts_with("ledger@2000 idempotency: the key 07070707"), "{told:?}");
}

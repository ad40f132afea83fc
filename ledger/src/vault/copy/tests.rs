//! A vault that is moved is the same vault, and nothing of it is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use rusqlite::Connection;
use sqlx::Connection as _;
use uuid::Uuid;

use super::*;
use crate::Timestamp;
use crate::random::SystemRandom;
use crate::sealing::KeyId;
use crate::testing::postgres::Database;
use crate::vault::accounts::{Account, NewAccount, Profile};
use crate::vault::sessions::NewSession;
use crate::vault::{MasterKey, Role, SubjectRefs, Terms, Vault};

fn keyring(key: u8) -> Keyring {
    Keyring::new(MasterKey::from_bytes([key; 32]), Arc::new(SystemRandom))
}

async fn open(url: &Url) -> Arc<dyn Vault> {
    match url {
        Url::Sqlite(folder) => Arc::new(sqlite::Sqlite::open_existing(folder, keyring(1)).await.unwrap()),
        Url::Postgres(url) => {
            let durability = crate::store::postgres::Durability::Durable;
            Arc::new(postgres::Postgres::open_existing(url.expose_secret(), keyring(1), durability).await.unwrap())
        }
    }
}

async fn made(url: &Url, key: u8) {
    let base = Some("copy.example");
    match url {
        Url::Sqlite(folder) => drop(sqlite::Sqlite::open(folder, keyring(key), base).await.unwrap()),
        Url::Postgres(url) => {
            let durability = crate::store::postgres::Durability::Durable;
            drop(postgres::Postgres::open(url.expose_secret(), keyring(key), base, durability).await.unwrap());
        }
    }
}

fn refs(n: u64) -> SubjectRefs {
    let hash = |what: &str| blake3::hash(format!("{what} {n}").as_bytes()).into();
    SubjectRefs { issuer: uuid::Uuid::from_u128(7), name: hash("name"), email: hash("email") }
}

fn folder() -> (tempfile::TempDir, Url) {
    let folder = tempfile::tempdir().unwrap();
    let url = Url::Sqlite(folder.path().to_owned());
    (folder, url)
}

/// Everything that is copied, in an order of its own.
async fn all(url: &Url) -> Vec<(&'static str, Vec<String>)> {
    let (sender, mut receiver) = mpsc::channel(2);
    let url = url.clone();
    let reading = tokio::spawn(async move {
        match &url {
            Url::Sqlite(folder) => sqlite::read_all(folder, sender).await,
            Url::Postgres(url) => postgres::read_all(url.expose_secret(), sender).await,
        }
    });
    let mut found = Vec::new();
    while let Some(rows) = receiver.recv().await {
        let Rows { table, rows } = rows.unwrap();
        found.push((table.name, rows.iter().map(|row| format!("{row:?}")).collect::<Vec<_>>()));
    }
    reading.await.unwrap();
    found.iter_mut().for_each(|(_, rows)| rows.sort_unstable());
    found.sort();
    found
}

/// A vault with something in every table.
async fn filled(url: &Url, subjects: u64) -> Arc<dyn Vault> {
    made(url, 1).await;
    let vault = open(url).await;
    let now = Timestamp::from_micros(1_767_225_600_000_000);
    vault.subjects(&(0..subjects).map(refs).collect::<Vec<_>>(), now).await.unwrap();
    let issuer = vault.ensure_issuer("default", now).await.unwrap();
    vault.month_key("2026-11").await.unwrap();
    vault.forget_months(&["2025-11".to_owned()]).await.unwrap();
    vault.log_key(&crate::LogName::LEDGER, now).await.unwrap();
    vault.advance_guard(&crate::LogName::LEDGER, None, "a note").await.unwrap();
    let (key, _) = vault.create_key(&Terms::of(Role::Admin, issuer.id).named("first"), now).await.unwrap();
    vault.create_key(&Terms::of(Role::Issuer, issuer.id), now).await.unwrap();
    vault.revoke_key(key.id, now).await.unwrap();
    let profile = Profile { username: "ada".to_owned(), email: "ada@example.org".to_owned(), first_name: None, last_name: None };
    let id = Uuid::from_u128(1);
    let account = Account { id, issuer: issuer.id, roles: Role::Member.into(), profile, created_at: now, deactivated_at: None };
    let new = NewAccount { account, username: [1; 32], email: [2; 32], password: "a hash".to_owned().into() };
    assert!(vault.insert_account(&new, Timestamp::EPOCH).await.unwrap());
    assert!(vault.confirm_account(id).await.unwrap());
    let checked = vault.login_of(id).await.unwrap().unwrap().stored;
    let begun =
        NewSession { id, account: id, checked, agent: Some("a browser".to_owned()), token: [3; 32], created_at: now, expires_at: now };
    assert!(vault.insert_session(&begun).await.unwrap());
    vault.add_token_key(Timestamp::EPOCH, now).await.unwrap();
    vault.note_erasures(&[Uuid::from_u128(2)], now).await.unwrap();
    vault
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_goes_from_engine_to_engine_and_back_as_it_is() {
    let database = Database::create().await;
    let ((_first, first), postgres, (_last, last)) = (folder(), Url::Postgres(database.url.clone().into()), folder());
    let vault = filled(&first, 2300).await;
    let rows = copy(&first, &postgres).await.unwrap();
    assert_eq!(rows, 1 + 2300 + 1 + 1 + 2 + 2 + 1 + 1 + 1 + 1 + 1 + 1 + 1);
    assert_eq!(copy(&postgres, &last).await.unwrap(), rows);
    let everything = all(&first).await;
    assert_eq!(everything.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), TABLES.iter().map(|table| table.name).collect());
    for copied in [&postgres, &last] {
        let other = open(copied).await;
        assert_eq!(other.origin_base(), "copy.example");
        assert_eq!(other.keys().await.unwrap(), vault.keys().await.unwrap());
        assert_eq!(other.issuers().await.unwrap(), vault.issuers().await.unwrap());
        assert_eq!(other.month_key("2026-11").await.unwrap(), vault.month_key("2026-11").await.unwrap());
        assert!(other.month_key("2025-11").await.is_err());
        let mut keys = Vec::new();
        for vault in [&vault, &other] {
            keys.push(vault.subjects(&[refs(1)], Timestamp::EPOCH).await.unwrap().remove(0).key);
        }
        assert_eq!(keys[0], keys[1]);
        let issuer = KeyId::Issuer(vault.issuers().await.unwrap()[0].id);
        assert_eq!(other.open_keys(std::slice::from_ref(&issuer)).await.unwrap(), vault.open_keys(&[issuer]).await.unwrap());
    }
    let merged = |rows: Vec<(&'static str, Vec<String>)>| {
        let mut rows: Vec<_> = rows.into_iter().flat_map(|(table, rows)| rows.into_iter().map(move |row| (table, row))).collect();
        rows.sort();
        rows
    };
    let expected = merged(everything);
    assert_eq!(merged(all(&postgres).await), expected);
    assert_eq!(merged(all(&last).await), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_since_is_forgotten_in_the_copy() {
    let ((_source, from), (_target, to)) = (folder(), folder());
    let vault = filled(&from, 2).await;
    copy(&from, &to).await.unwrap();
    let id = vault.subjects(&[refs(0)], Timestamp::EPOCH).await.unwrap()[0].id;
    assert_eq!(vault.forget_subjects(&[id]).await.unwrap(), 1);
    copy(&from, &to).await.unwrap();
    let key = KeyId::Subject(id);
    assert!(open(&to).await.open_keys(&[key]).await.unwrap().is_empty());
    assert_eq!(all(&to).await, all(&from).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_vault_is_left_alone() {
    let database = Database::create().await;
    let (_source, from) = folder();
    filled(&from, 2).await;
    let (_target, to) = folder();
    for to in [to, Url::Postgres(database.url.clone().into())] {
        made(&to, 1).await;
        let before = settings(&to).await.unwrap();
        assert!(matches!(copy(&from, &to).await, Err(CopyError::Another)));
        assert_eq!(settings(&to).await.unwrap(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_was_not_sent_to_its_end_is_none() {
    let database = Database::create().await;
    let (_source, from) = folder();
    filled(&from, 2).await;
    let (_target, to) = folder();
    for to in [to, Url::Postgres(database.url.clone().into())] {
        for failed in [false, true] {
            let (sender, receiver) = mpsc::channel(9);
            let row = vec![Value::Text("base".to_owned()), Value::Bytes(vec![1])];
            sender.send(Ok(Rows { table: &TABLES[0], rows: vec![row] })).await.unwrap();
            if failed {
                sender.send(Err(Error::Busy)).await.unwrap();
            }
            drop(sender);
            let written = match &to {
                Url::Sqlite(folder) => sqlite::write_all(folder, receiver).await,
                Url::Postgres(url) => postgres::write_all(url.expose_secret(), receiver).await,
            };
            assert!(written.is_err());
            assert_eq!(settings(&to).await.unwrap(), None);
        }
        copy(&from, &to).await.unwrap();
    }
}

#[tokio::test]
async fn settings_tell_whose_key_opens_a_vault() {
    let (_folder, url) = folder();
    assert_eq!(settings(&url).await.unwrap(), None);
    made(&url, 1).await;
    let settings = settings(&url).await.unwrap().unwrap();
    assert_eq!(settings.origin_base, "copy.example");
    require_key(&keyring(1), &settings).unwrap();
    assert!(matches!(require_key(&keyring(2), &settings), Err(OpenError::WrongMasterKey)));
}

/// Every table and column of the list, as `table.column`, with what is left out on purpose taken from `schema`.
fn compare(schema: Vec<(String, String)>) {
    let expected: BTreeSet<String> =
        TABLES.iter().flat_map(|table| table.columns.iter().map(|(column, _)| format!("{}.{column}", table.name))).collect();
    let found = schema.into_iter().filter(|(table, column)| !LEFT.contains(&table.as_str()) && !SINGLETONS.contains(&column.as_str()));
    let found: BTreeSet<String> = found.map(|(table, column)| format!("{table}.{column}")).collect();
    assert_eq!(found, expected, "a table or column of the vault that is not in TABLES is lost by whoever moves");
}

#[tokio::test]
async fn the_list_names_every_table_and_column_of_the_schema_on_sqlite() {
    let (folder, url) = folder();
    made(&url, 1).await;
    let raw = Connection::open(sqlite::path(folder.path())).unwrap();
    let mut statement = raw
        .prepare(
            "select tables.name, columns.name from sqlite_schema as tables, pragma_table_info(tables.name) as columns \
             where tables.type = 'table' and tables.name not like 'sqlite_%'",
        )
        .unwrap();
    let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    compare(columns.map(Result::unwrap).collect());
}

#[tokio::test]
async fn the_list_names_every_table_and_column_of_the_schema_on_postgres() {
    let database = Database::create().await;
    made(&Url::Postgres(database.url.clone().into()), 1).await;
    let mut raw = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns \
         where table_schema = 'vault' and table_name not like '\\_%'",
    )
    .fetch_all(&mut raw)
    .await
    .unwrap();
    compare(columns);
}

//! The contract on a real server, and that every statement prepares.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Executor, SqlSafeStr};

use super::*;
use crate::testing::postgres::Database;
use crate::vault::MasterKey;
use crate::vault::contract::Fixture;
use crate::vault::master_key::MasterKeys;

struct Fresh(Database);

#[async_trait]
impl Fixture for Fresh {
    async fn open(&self, master_keys: MasterKeys, origin_base: Option<&str>) -> Result<Arc<dyn Vault>, OpenError> {
        let keyring = Keyring::new(master_keys, Arc::new(crate::random::SystemRandom));
        Ok(Arc::new(Postgres::open(&self.0.url, keyring, origin_base, Durability::Durable).await?))
    }

    async fn stored(&self) -> Vec<u8> {
        let mut stored = Vec::new();
        let pool = store::connect(&self.0.url, SCHEMA, Durability::Derived).await.unwrap();
        for table in ["settings", "subjects", "issuers", "issuer_keys", "month_keys", "api_keys", "workers"] {
            // Binary columns as they are: COPY's binary format holds each value's own bytes.
            let copy = format!("copy {table} to stdout (format binary)");
            let mut session = pool.acquire().await.unwrap();
            let mut rows = session.copy_out_raw(sqlx::AssertSqlSafe(copy).into_sql_str().as_str()).await.unwrap();
            while let Some(bytes) = futures::StreamExt::next(&mut rows).await {
                stored.extend_from_slice(&bytes.unwrap());
            }
        }
        stored
    }
}

async fn fresh() -> Fresh {
    Fresh(Database::create().await)
}

crate::vault_contract!(fresh);

#[tokio::test]
async fn every_statement_prepares() {
    let fresh = fresh().await;
    Postgres::migrate(&fresh.0.url).await.unwrap();
    let mut session = Sessions::new(&fresh.0.url, SCHEMA, Durability::Derived).unwrap().connect().await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/postgres/vault")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(sql::ALL.contains(&text.as_str()), "used nowhere: {text}");
        files += 1;
    }
    assert_eq!(files, sql::ALL.len());
    for text in sql::ALL {
        session.prepare((*text).into_sql_str()).await.unwrap_or_else(|failed| panic!("{text}: {failed}"));
    }
}

#[tokio::test]
async fn a_vault_exists_once_it_was_opened() {
    let fresh = fresh().await;
    assert!(!Postgres::exists(&fresh.0.url).await.unwrap());
    fresh.open(MasterKey::from_bytes([7; 32]).into(), None).await.unwrap();
    assert!(Postgres::exists(&fresh.0.url).await.unwrap());
}

#[tokio::test]
async fn what_was_wrapped_and_cannot_be_written_in_time_is_given_up() {
    let fresh = fresh().await;
    let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(crate::random::SystemRandom));
    let mut vault = Postgres::open(&fresh.0.url, keyring, None, Durability::Durable).await.unwrap();
    let refs = |number: u8| SubjectRefs { issuer: Uuid::nil(), name: [number; 32], email: [number; 32] };
    vault.subjects(&[refs(1)], Timestamp::EPOCH).await.unwrap();
    vault.sent_within = Duration::from_millis(500);
    let mut other = Sessions::new(&fresh.0.url, SCHEMA, Durability::Derived).unwrap().connect().await.unwrap();
    sqlx::raw_sql("begin; lock table subjects, month_keys in exclusive mode").execute(&mut other).await.unwrap();
    let subjects = tokio::time::timeout(Duration::from_secs(5), vault.subjects(&[refs(2)], Timestamp::EPOCH)).await;
    assert!(matches!(subjects, Ok(Err(Error::Unavailable(_)))), "{:?}", subjects.map(drop));
    let month = tokio::time::timeout(Duration::from_secs(5), vault.month_key("2026-11")).await;
    assert!(matches!(month, Ok(Err(Error::Unavailable(_)))), "{:?}", month.map(drop));
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    vault.sent_within = SENT_WITHIN;
    vault.subjects(&[refs(2)], Timestamp::EPOCH).await.unwrap();
    vault.month_key("2026-11").await.unwrap();
}

/// As the version before kept them.
#[tokio::test]
async fn the_keys_of_issuers_that_had_one_alone_carry_over() {
    let fresh = fresh().await;
    let ring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(crate::random::SystemRandom));
    store::migrate(&fresh.0.url, SCHEMA, &STEPS[..1]).await.unwrap();
    let pool = store::connect(&fresh.0.url, SCHEMA, Durability::Derived).await.unwrap();
    let settings = ring.new_settings(Some("ledger.example"));
    let insert = sqlx::query(sql::INSERT_SETTINGS).bind(settings.origin_base).bind(settings.lookup_keys);
    insert.execute(&pool).await.unwrap();
    let old: Vec<_> = ["default", "other"].map(|name| ring.new_issuer(name, Timestamp::EPOCH)).into();
    for new in &old {
        let insert = "insert into issuers (id, name, did, wrapped_signing_key, wrapped_sealing_key) values ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(insert).bind(new.issuer.id).bind(&new.issuer.name).bind(&new.issuer.did);
        insert.bind(&new.wrapped_signing_key).bind(&new.wrapped_sealing_key).execute(&pool).await.unwrap();
    }
    let vault = fresh.open(MasterKey::from_bytes([7; 32]).into(), None).await.unwrap();
    crate::vault::contract::issuers_are_whole(&*vault, &old, &ring).await;
}

/// The same vault in the database of the ledger.
struct Beside(Fresh);

#[async_trait]
impl Fixture for Beside {
    async fn open(&self, master_keys: MasterKeys, origin_base: Option<&str>) -> Result<Arc<dyn Vault>, OpenError> {
        let keyring = Keyring::new(master_keys, Arc::new(crate::random::SystemRandom));
        let opened = Postgres::open(&self.0.0.url, keyring, origin_base, Durability::Durable).await?;
        Ok(Arc::new(opened.beside_the_ledger()))
    }

    async fn stored(&self) -> Vec<u8> {
        self.0.stored().await
    }
}

mod beside {
    use super::*;

    async fn fresh() -> Beside {
        Beside(super::fresh().await)
    }

    crate::vault_contract!(fresh);
}

#[tokio::test]
async fn beside_the_ledger_a_subjects_commit_is_not_waited_for_and_says_so() {
    let fresh = fresh().await;
    let open = async || {
        let keyring = Keyring::new(MasterKey::from_bytes([7; 32]), Arc::new(crate::random::SystemRandom));
        Postgres::open(&fresh.0.url, keyring, None, Durability::Durable).await.unwrap()
    };
    let refs = |number: u8| SubjectRefs { issuer: Uuid::nil(), name: [number; 32], email: [number; 32] };
    let subject = open().await.subjects(&[refs(1)], Timestamp::EPOCH).await.unwrap().remove(0);
    assert!(subject.is_durable);
    let vault = open().await.beside_the_ledger();
    let subjects = vault.subjects(&[refs(1), refs(2)], Timestamp::EPOCH).await.unwrap();
    // That the first is durable is known only to who waited for it.
    assert_eq!((subjects[0].id, subjects[0].is_durable, subjects[1].is_durable), (subject.id, false, false));
    let setting = vault.kept.fetch(|| sqlx::query("show synchronous_commit")).await.unwrap();
    assert_eq!(column::<String>(&setting[0], 0).unwrap(), "off");
}

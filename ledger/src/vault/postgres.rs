//! The vault in a schema of a PostgreSQL database, `vault`.
//!
//! Whatever is made once, under races, is inserted unless it is there and then read: what stands there counts, whoever wrote it.
//! A statement asks for no more than its call needs, since the roles' logins have few rights (`migrations/postgres/roles.sql`).

mod accounts;
mod copy;
mod erasures;
mod issuers;
mod log_keys;
mod rotation;
mod sessions;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, Row};
use uuid::Uuid;
use zeroize::Zeroizing;

pub(super) use self::copy::{read_all, stored_settings, write_all};
use super::api_key::{self, NewApiKey, Terms, Wanted};
use super::master_key::ring::SENT_WITHIN;
use super::rows::{Keyring, NewSubject, Settings};
use super::{
    ApiKey, FIRST_START_WAIT, FirstStart, Issuer, IssuerKey, KeyState, LookupKeys, MonthForgotten, OpenError, Reference, Roles, Rotations,
    Subject, SubjectRefs, UnknownRole, Vault, Worker, fingerprints_from_text, fingerprints_to_text,
};
use crate::Timestamp;
use crate::sealing::{KeyId, SealingKey};
use crate::signing::SigningKey;
use crate::store::Error;
use crate::store::postgres::{self as store, Durability, Kept, SESSIONS_MAX, Sessions, Step, bounded};

/// Callers wait for one another before they come here: one asks for what it needs, one for what it compares with.
const SUBJECT_SESSIONS_MAX: usize = 3;
/// Sessions for everything else.
const POOL_MAX: u32 = SESSIONS_MAX - 3;

const SCHEMA: &str = "vault";
const STEPS: &[Step] = &[
    (1, "vault", include_str!("../../../migrations/postgres/vault/0001_vault.sql")),
    (2, "issuer_keys", include_str!("../../../migrations/postgres/vault/0002_issuer_keys.sql")),
    (3, "log_keys", include_str!("../../../migrations/postgres/vault/0003_log_keys.sql")),
    (4, "accounts", include_str!("../../../migrations/postgres/vault/0004_accounts.sql")),
    (5, "erasures", include_str!("../../../migrations/postgres/vault/0005_erasures.sql")),
    (6, "master_key_rotation", include_str!("../../../migrations/postgres/vault/0006_master_key_rotation.sql")),
];
/// How often a next signing key is asked for that others keep using.
const NEXT_KEY_TRIES: usize = 3;
/// How often a subject is asked for that is forgotten between being there and being read.
const SUBJECT_TRIES: usize = 3;

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

/// A vault in a PostgreSQL database.
pub struct Postgres {
    sessions: Sessions,
    pool: PgPool,
    /// For subjects.
    kept: Kept,
    /// Whether a subject's commit is waited for.
    is_durable: bool,
    keyring: Keyring,
    lookup: LookupKeys,
    origin_base: String,
    sent_within: Duration,
}

impl Postgres {
    /// Brings the vault's schema up to this program's, making it where it is missing.
    ///
    /// # Errors
    /// As [`store::migrate`].
    pub async fn migrate(url: &str) -> Result<(), Error> {
        store::migrate(url, SCHEMA, STEPS).await
    }

    /// The names of the steps that [`Postgres::migrate`] would take.
    ///
    /// # Errors
    /// As [`store::pending`].
    pub async fn pending(url: &str) -> Result<Vec<&'static str>, Error> {
        store::pending(url, SCHEMA, STEPS).await
    }

    /// Whether a vault has been made there: then its master key exists somewhere, and none may be generated.
    ///
    /// # Errors
    /// The server's. A schema that is missing is an answer.
    pub async fn exists(url: &str) -> Result<bool, Error> {
        let pool = Sessions::new(url, SCHEMA, Durability::UnsafeAllowed)?.pool(1).await?;
        Ok(settings(&pool).await?.is_some())
    }

    /// Opens the vault, which is made or migrated as far as the login may: then `origin_base`, or a random one, is its own for
    /// ever.
    ///
    /// # Errors
    /// [`OpenError::WrongMasterKey`], before anything is written; [`Error::NotMigrated`] when the login may not migrate; the
    /// server's.
    pub async fn open(url: &str, keyring: Keyring, origin_base: Option<&str>, durability: Durability) -> Result<Postgres, OpenError> {
        let sessions = Sessions::new(url, SCHEMA, durability)?.by_index();
        let pool = sessions.pool(POOL_MAX).await?;
        if !store::pending(url, SCHEMA, STEPS).await?.is_empty() {
            // Whose key this is not must not be brought up to date either.
            if let Some(settings) = settings(&pool).await? {
                keyring.lookup_keys(&settings)?;
            }
            store::migrate_if_allowed(url, SCHEMA, STEPS).await?;
        }
        let stored = match settings(&pool).await? {
            Some(stored) => Some(stored),
            None => {
                let new = keyring.new_settings(origin_base);
                bounded(sqlx::query(sql::INSERT_SETTINGS).bind(new.origin_base).bind(new.lookup_keys).execute(&pool)).await?;
                settings(&pool).await?
            }
        };
        Postgres::with(sessions, pool, keyring, stored).await
    }

    /// Opens a vault that has been made, as it is.
    ///
    /// # Errors
    /// [`OpenError::WrongMasterKey`]; [`Error::NotMigrated`] if it has not been made or is older than this program; the server's.
    pub async fn open_existing(url: &str, keyring: Keyring, durability: Durability) -> Result<Postgres, OpenError> {
        let sessions = Sessions::new(url, SCHEMA, durability)?.by_index();
        let pool = sessions.pool(POOL_MAX).await?;
        store::require_current(&pool, SCHEMA, STEPS).await?;
        let stored = settings(&pool).await?;
        Postgres::with(sessions, pool, keyring, stored).await
    }

    async fn with(sessions: Sessions, pool: PgPool, keyring: Keyring, stored: Option<Settings>) -> Result<Postgres, OpenError> {
        let settings = stored.ok_or(Error::NotMigrated)?;
        let lookup = keyring.lookup_keys(&settings)?;
        let kept = Kept::new(sessions.clone(), SUBJECT_SESSIONS_MAX);
        let (origin_base, sent_within) = (settings.origin_base, SENT_WITHIN);
        let opened = Postgres { sessions, pool, kept, is_durable: true, keyring, lookup, origin_base, sent_within };
        let (standing, read_at) = opened.standing().await?;
        opened.keyring.ring().follow(standing, read_at).await?;
        Ok(opened)
    }

    /// The same for a process whose ledger is in this database: the commit of a new subject need not wait for the disk, as that of
    /// the credential, which comes later in the same write-ahead log, waits for both.
    #[must_use]
    pub fn beside_the_ledger(self) -> Postgres {
        let sessions = self.sessions.derived().with("synchronous_commit", "off");
        Postgres { kept: Kept::new(sessions, SUBJECT_SESSIONS_MAX), is_durable: false, ..self }
    }

    /// The server's setting by which acknowledged commits can be lost, if there is one: for readiness.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn unsafe_setting(&self) -> Result<Option<String>, Error> {
        store::unsafe_setting(&self.pool).await
    }

    /// Waits for the writing of what was wrapped just now, at most [`SENT_WITHIN`]: sent later, or once more, it could be wrapped by a
    /// master key that is done with.
    async fn sent<T>(&self, writing: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.sent_within, writing).await.unwrap_or_else(|late| Err(Error::Unavailable(late.into())))
    }

    async fn find(&self, wanted: &BTreeSet<SubjectRefs>) -> Result<HashMap<SubjectRefs, Subject>, Error> {
        let (issuers, names, emails) = columns(wanted);
        let find = || sqlx::query(sql::SELECT_SUBJECTS).bind(&issuers).bind(&names).bind(&emails);
        let rows = self.kept.fetch(find).await.map_err(store::error)?;
        rows.iter().map(|row| Ok((subject_refs(row)?, self.keyring.subject(column(row, 0)?, column(row, 4)?)?))).collect()
    }

    /// Makes those that are not there as they were prepared, and answers them.
    async fn make(&self, new: Vec<(SubjectRefs, NewSubject)>) -> Result<HashMap<SubjectRefs, Subject>, Error> {
        let (issuers, names, emails) = columns(new.iter().map(|(refs, _)| refs));
        let ids: Vec<Uuid> = new.iter().map(|(_, new)| new.subject.id).collect();
        let keys: Vec<&[u8]> = new.iter().map(|(_, new)| new.wrapped_key.as_slice()).collect();
        // Sent twice, it leaves to be found what it made.
        let insert = || sqlx::query(sql::INSERT_SUBJECTS).bind(&ids).bind(&issuers).bind(&names).bind(&emails).bind(&keys);
        let rows = self.sent(async { self.kept.fetch(insert).await.map_err(store::error) }).await?;
        let made = rows.iter().map(|row| column(row, 0)).collect::<Result<HashSet<Uuid>, Error>>()?;
        Ok(new.into_iter().filter(|(_, new)| made.contains(&new.subject.id)).map(|(refs, new)| (refs, new.subject)).collect())
    }
}

#[async_trait]
impl Vault for Postgres {
    fn lookup(&self) -> &LookupKeys {
        &self.lookup
    }

    fn origin_base(&self) -> &str {
        &self.origin_base
    }

    /// An advisory lock of a session of its own, which ends with the guard or with the process.
    async fn first_start(&self) -> Result<FirstStart, Error> {
        let mut session = self.sessions.connect().await?;
        let locking = sqlx::query(sql::LOCK_FIRST_START).execute(&mut session);
        match tokio::time::timeout(FIRST_START_WAIT, locking).await {
            Ok(locked) => locked.map_err(store::error)?,
            Err(_) => return Err(Error::Busy),
        };
        Ok(FirstStart::holding(std::sync::Mutex::new(session)))
    }

    async fn subjects(&self, wanted: &[SubjectRefs], now: Timestamp) -> Result<Vec<Subject>, Error> {
        let mut missing: BTreeSet<SubjectRefs> = wanted.iter().copied().collect();
        let mut found = HashMap::with_capacity(missing.len());
        for _ in 0..SUBJECT_TRIES {
            self.keep_up().await?;
            found.extend(self.make(missing.iter().map(|refs| (*refs, self.keyring.new_subject(now))).collect()).await?);
            missing.retain(|refs| !found.contains_key(refs));
            if !missing.is_empty() {
                found.extend(self.find(&missing).await?);
                missing.retain(|refs| !found.contains_key(refs));
            }
            if missing.is_empty() {
                break;
            }
            // What stood in the way of its being made is not there to be found: it was forgotten in between.
        }
        // One that was found may have been made a moment ago by another process, by a commit that was not waited for either.
        let answer = |refs| Ok(Subject { is_durable: self.is_durable, ..found.get(refs).cloned().ok_or(Error::Busy)? });
        wanted.iter().map(answer).collect()
    }

    async fn find_subjects(&self, names: Option<&[Reference]>, emails: Option<&[Reference]>) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let all = |references: &[Reference]| references.iter().map(|reference| reference.to_vec()).collect::<Vec<_>>();
        let query = match (names, emails) {
            (Some(names), Some(emails)) => sqlx::query_as(sql::SELECT_SUBJECTS_BY_BOTH).bind(all(emails)).bind(all(names)),
            (None, Some(emails)) => sqlx::query_as(sql::SELECT_SUBJECTS_BY_EMAIL).bind(all(emails)),
            (Some(names), None) => sqlx::query_as(sql::SELECT_SUBJECTS_BY_NAME).bind(all(names)),
            (None, None) => return Ok(Vec::new()),
        };
        bounded(query.fetch_all(&self.pool)).await
    }

    async fn subject_refs(&self, ids: &[Uuid]) -> Result<Vec<Option<SubjectRefs>>, Error> {
        let rows = self.kept.fetch(|| sqlx::query(sql::SELECT_SUBJECT_REFS).bind(ids)).await.map_err(store::error)?;
        let refs = |row: &PgRow| match column(row, 0)? {
            Some(issuer) => Ok(Some(SubjectRefs { issuer, name: reference(row, 1)?, email: reference(row, 2)? })),
            None => Ok(None),
        };
        rows.iter().map(refs).collect()
    }

    async fn open_keys(&self, ids: &[KeyId]) -> Result<HashMap<KeyId, SealingKey>, Error> {
        self.keep_up().await?;
        let (mut subjects, mut issuers, mut months) = (Vec::new(), Vec::new(), Vec::new());
        for id in ids {
            match id {
                KeyId::Subject(id) => subjects.push(*id),
                KeyId::Issuer(id) => issuers.push(*id),
                KeyId::Month(month) => months.push(month.as_str()),
            }
        }
        let mut stored: Vec<(KeyId, Vec<u8>)> = Vec::with_capacity(ids.len());
        if !subjects.is_empty() {
            let keys = sqlx::query_as(sql::SELECT_SUBJECT_KEYS).bind(subjects).fetch_all(&self.pool);
            stored.extend(bounded(keys).await?.into_iter().map(|(id, wrapped)| (KeyId::Subject(id), wrapped)));
        }
        if !issuers.is_empty() {
            let keys = sqlx::query_as(sql::SELECT_ISSUER_SEALING_KEYS).bind(issuers).fetch_all(&self.pool);
            stored.extend(bounded(keys).await?.into_iter().map(|(id, wrapped)| (KeyId::Issuer(id), wrapped)));
        }
        if !months.is_empty() {
            let keys = sqlx::query_as(sql::SELECT_MONTH_KEYS).bind(months).fetch_all(&self.pool);
            stored.extend(bounded(keys).await?.into_iter().map(|(month, wrapped)| (KeyId::Month(month), wrapped)));
        }
        stored.into_iter().map(|(id, wrapped)| Ok((id.clone(), self.keyring.open(&id, &wrapped)?))).collect()
    }

    async fn month_key(&self, month: &str) -> Result<SealingKey, Error> {
        let id = KeyId::Month(month.to_owned());
        let asked = std::slice::from_ref(&id);
        if let Some(key) = self.open_keys(asked).await?.remove(&id) {
            return Ok(key);
        }
        self.keep_up().await?;
        let (_, wrapped) = self.keyring.new_month_key(month);
        self.sent(bounded(sqlx::query(sql::INSERT_MONTH_KEY).bind(month).bind(wrapped).execute(&self.pool))).await?;
        self.open_keys(asked).await?.remove(&id).ok_or_else(|| Error::Failed(MonthForgotten(month.to_owned()).into()))
    }

    async fn months(&self) -> Result<Vec<String>, Error> {
        bounded(sqlx::query_scalar(sql::SELECT_MONTHS).fetch_all(&self.pool)).await
    }

    async fn forget_months(&self, months: &[String]) -> Result<(), Error> {
        bounded(sqlx::query(sql::FORGET_MONTHS).bind(months).execute(&self.pool)).await.map(drop)
    }

    async fn ensure_issuer(&self, name: &str, now: Timestamp) -> Result<Issuer, Error> {
        if let Some(issuer) = self.find_issuer(name).await? {
            return Ok(issuer);
        }
        self.keep_up().await?;
        let new = self.keyring.new_issuer(name, now);
        let insert = sqlx::query(sql::INSERT_ISSUER).bind(new.issuer.id).bind(new.issuer.name).bind(new.issuer.did);
        self.sent(bounded(insert.bind(new.wrapped_signing_key).bind(new.wrapped_sealing_key).execute(&self.pool))).await?;
        self.find_issuer(name).await?.ok_or_else(|| Error::Corrupt("an issuer just made is gone".to_owned()))
    }

    async fn signing_key(&self, did: &str) -> Result<Option<SigningKey>, Error> {
        self.keep_up().await?;
        let stored: Option<(Uuid, Vec<u8>)> = bounded(sqlx::query_as(sql::SELECT_SIGNING_KEY).bind(did).fetch_optional(&self.pool)).await?;
        stored.map(|(issuer, wrapped)| self.keyring.signing_key(issuer, did, &wrapped)).transpose()
    }

    async fn next_issuer_key(&self, issuer: Uuid) -> Result<Option<String>, Error> {
        for _ in 0..NEXT_KEY_TRIES {
            let next = sqlx::query_scalar(sql::SELECT_NEXT_ISSUER_KEY).bind(issuer).fetch_optional(&self.pool);
            if let Some(did) = bounded(next).await? {
                return Ok(Some(did));
            }
            self.keep_up().await?;
            let new = self.keyring.new_signing_key(issuer);
            let insert = sqlx::query(sql::INSERT_NEXT_ISSUER_KEY).bind(issuer).bind(&new.did).bind(new.wrapped);
            if self.sent(bounded(insert.execute(&self.pool))).await?.rows_affected() == 1 {
                return Ok(Some(new.did));
            }
            // Somebody else has made one, and may even have begun to use it; or there is no such issuer.
        }
        match self.issuer_keys(issuer).await?.is_empty() {
            true => Ok(None),
            false => Err(Error::Busy),
        }
    }

    async fn use_issuer_key(&self, issuer: Uuid, did: &str) -> Result<(), Error> {
        bounded(sqlx::query(sql::USE_ISSUER_KEY).bind(issuer).bind(did).execute(&self.pool)).await.map(drop)
    }

    async fn issuer_keys(&self, issuer: Uuid) -> Result<Vec<IssuerKey>, Error> {
        let keys: Vec<(String, i64)> = bounded(sqlx::query_as(sql::SELECT_ISSUER_KEYS).bind(issuer).fetch_all(&self.pool)).await?;
        Ok(keys.into_iter().map(|(did, place)| IssuerKey { did, state: KeyState::at(place) }).collect())
    }

    async fn find_issuer(&self, name: &str) -> Result<Option<Issuer>, Error> {
        bounded(sqlx::query_as(sql::SELECT_ISSUER).bind(name).fetch_optional(&self.pool)).await
    }

    async fn issuers(&self) -> Result<Vec<Issuer>, Error> {
        bounded(sqlx::query_as(sql::SELECT_ISSUERS).fetch_all(&self.pool)).await
    }

    async fn issuer_key(&self, id: Uuid) -> Result<Option<SealingKey>, Error> {
        let id = KeyId::Issuer(id);
        Ok(self.open_keys(std::slice::from_ref(&id)).await?.remove(&id))
    }

    async fn create_key(&self, terms: &Terms, now: Timestamp) -> Result<(ApiKey, Zeroizing<String>), Error> {
        let NewApiKey { row, hash, text } = NewApiKey::generate(terms, now, self.keyring.random());
        let Terms { roles, issuer, types, name, expires_at } = terms;
        let insert = sqlx::query(sql::INSERT_API_KEY).bind(row.id).bind(hash.to_vec()).bind(&row.prefix).bind(roles.to_string());
        let insert = insert.bind(issuer).bind(api_key::types_to_text(types.as_deref())).bind(name);
        let insert = insert.bind(row.created_at.as_micros_i64()).bind(expires_at.map(|time| time.as_micros_i64()));
        bounded(insert.execute(&self.pool)).await?;
        Ok((row, text))
    }

    async fn find_key(&self, text: &str) -> Result<Option<ApiKey>, Error> {
        let Some(hash) = api_key::hash(text) else { return Ok(None) };
        bounded(sqlx::query_as(sql::SELECT_API_KEY_BY_HASH).bind(hash.to_vec()).fetch_optional(&self.pool)).await
    }

    async fn key(&self, id: Uuid) -> Result<Option<ApiKey>, Error> {
        bounded(sqlx::query_as(sql::SELECT_API_KEY).bind(id).fetch_optional(&self.pool)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        bounded(sqlx::query_as(sql::SELECT_API_KEYS).fetch_all(&self.pool)).await
    }

    async fn select_keys(&self, wanted: &Wanted) -> Result<Vec<ApiKey>, Error> {
        let Wanted { issuer, prefix, before, limit } = wanted;
        let select = sqlx::query_as(sql::SELECT_SOME_API_KEYS).bind(issuer).bind(prefix).bind(before).bind(i64::from(*limit));
        bounded(select.fetch_all(&self.pool)).await
    }

    async fn revoke_key(&self, id: Uuid, now: Timestamp) -> Result<Option<ApiKey>, Error> {
        bounded(sqlx::query(sql::REVOKE_API_KEY).bind(id).bind(now.as_micros_i64()).execute(&self.pool)).await?;
        self.key(id).await
    }

    async fn expire_key(&self, id: Uuid, at: Timestamp) -> Result<Option<ApiKey>, Error> {
        bounded(sqlx::query(sql::EXPIRE_API_KEY).bind(id).bind(at.as_micros_i64()).execute(&self.pool)).await?;
        self.key(id).await
    }

    async fn touch_keys(&self, used: &[(Uuid, Timestamp)]) -> Result<(), Error> {
        if used.is_empty() {
            return Ok(());
        }
        let (ids, times): (Vec<Uuid>, Vec<i64>) =
            used.iter().map(|(id, used)| (*id, api_key::to_the_minute(*used).as_micros_i64())).unzip();
        bounded(sqlx::query(sql::TOUCH_API_KEYS).bind(ids).bind(times).execute(&self.pool)).await.map(drop)
    }

    async fn heartbeat(&self, worker: &Worker, forget_before: Timestamp) -> Result<(), Error> {
        let Worker { instance, name, role, version, started_at, last_seen_at, cursors, master_keys } = worker;
        let beat = sqlx::query(sql::UPSERT_WORKER).bind(instance).bind(name).bind(role).bind(version);
        let beat = beat.bind(started_at.as_micros_i64()).bind(last_seen_at.as_micros_i64()).bind(cursors);
        let beat = beat.bind(fingerprints_to_text(master_keys));
        bounded(beat.execute(&self.pool)).await?;
        // Not every role may take another's row away; one that may will come by.
        match bounded(sqlx::query(sql::DELETE_OLD_WORKERS).bind(forget_before.as_micros_i64()).execute(&self.pool)).await {
            Ok(_) | Err(Error::Denied(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    async fn goodbye(&self, instance: Uuid) -> Result<(), Error> {
        match bounded(sqlx::query(sql::DELETE_WORKER).bind(instance).execute(&self.pool)).await {
            Err(Error::Denied(_)) => bounded(sqlx::query(sql::RETIRE_WORKER).bind(instance).execute(&self.pool)).await.map(drop),
            done => done.map(drop),
        }
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<Worker>, Error> {
        bounded(sqlx::query_as(sql::SELECT_WORKERS).bind(since.as_micros_i64()).fetch_all(&self.pool)).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.keep_up().await?;
        settings(&self.pool).await?.map(drop).ok_or(Error::NotMigrated)
    }
}

/// The settings; `None` also where there are no tables yet.
async fn settings(pool: &PgPool) -> Result<Option<Settings>, Error> {
    match bounded(sqlx::query_as(sql::SELECT_SETTINGS).fetch_optional(pool)).await {
        Ok(row) => Ok(row.map(|(origin_base, lookup_keys)| Settings { origin_base, lookup_keys })),
        Err(Error::NotMigrated) => Ok(None),
        Err(other) => Err(other),
    }
}

/// What [`sql::SELECT_SUBJECTS`] answers.
fn subject_refs(row: &PgRow) -> Result<SubjectRefs, Error> {
    Ok(SubjectRefs { issuer: column(row, 1)?, name: reference(row, 2)?, email: reference(row, 3)? })
}

/// References as the arrays that statements take: issuers, names, e-mail addresses.
fn columns<'a>(refs: impl IntoIterator<Item = &'a SubjectRefs>) -> (Vec<Uuid>, Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for refs in refs {
        columns.0.push(refs.issuer);
        columns.1.push(refs.name.to_vec());
        columns.2.push(refs.email.to_vec());
    }
    columns
}

fn column<'r, T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>>(row: &'r PgRow, at: usize) -> Result<T, Error> {
    row.try_get(at).map_err(store::error)
}

fn reference(row: &PgRow, at: usize) -> Result<Reference, Error> {
    let bytes: &[u8] = column(row, at)?;
    bytes.try_into().map_err(|_| Error::Corrupt("a reference of the vault has another length".to_owned()))
}

fn time(row: &PgRow, name: &str) -> Result<Timestamp, sqlx::Error> {
    let micros: i64 = row.try_get(name)?;
    u64::try_from(micros).map(Timestamp::from_micros).map_err(|negative| sqlx::Error::Decode(negative.into()))
}

fn optional_time(row: &PgRow, name: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    let there: Option<i64> = row.try_get(name)?;
    there.map(|_| time(row, name)).transpose()
}

impl FromRow<'_, PgRow> for Issuer {
    fn from_row(row: &PgRow) -> Result<Issuer, sqlx::Error> {
        Ok(Issuer { id: row.try_get("id")?, name: row.try_get("name")?, did: row.try_get("did")?, is_active: row.try_get("is_active")? })
    }
}

/// Of a row that has roles.
fn roles(row: &PgRow) -> Result<Roles, sqlx::Error> {
    let roles: &str = row.try_get("roles")?;
    roles.parse().map_err(|unknown: UnknownRole| sqlx::Error::Decode(unknown.into()))
}

impl FromRow<'_, PgRow> for ApiKey {
    fn from_row(row: &PgRow) -> Result<ApiKey, sqlx::Error> {
        let types = api_key::types_from_text(row.try_get("types")?).map_err(|malformed| sqlx::Error::Decode(malformed.into()))?;
        let (issuer, name, expires_at) = (row.try_get("issuer")?, row.try_get("name")?, optional_time(row, "expires_at")?);
        Ok(ApiKey {
            id: row.try_get("id")?,
            terms: Terms { roles: roles(row)?, issuer, types, name, expires_at },
            of_active: row.try_get("of_active")?,
            prefix: row.try_get("prefix")?,
            created_at: time(row, "created_at")?,
            last_used_at: optional_time(row, "last_used_at")?,
            revoked_at: optional_time(row, "revoked_at")?,
        })
    }
}

impl FromRow<'_, PgRow> for Worker {
    fn from_row(row: &PgRow) -> Result<Worker, sqlx::Error> {
        Ok(Worker {
            instance: row.try_get("instance")?,
            name: row.try_get("name")?,
            role: row.try_get("role")?,
            version: row.try_get("version")?,
            started_at: time(row, "started_at")?,
            last_seen_at: time(row, "last_seen_at")?,
            cursors: row.try_get("cursors")?,
            master_keys: fingerprints_from_text(row.try_get("master_keys")?).map_err(|malformed| sqlx::Error::Decode(malformed.into()))?,
        })
    }
}

//! The rotation of the master key: what the vault remembers of it, and wrapping everything anew.
//!
//! `WRAPPED` is the one list of what the master key wraps; a test holds it against the schema of either engine, in which such columns
//! are called `wrapped_…` (and `lookup_keys`). A secret that is missing there would be lost with the old key.
//!
//! A value is put in the place of the very bytes that it was read from: what others change, or destroy, meanwhile stays as they left it. The
//! statements follow from the list and, as those of [`copy`](super::copy), do not stand in files.

use std::fmt;
use std::time::Instant;

use async_trait::async_trait;

use super::copy::{Kind, Value};
use super::master_key::Secret;
use super::master_key::ring::{Lacking, Ring, Rotation, Standing};
use super::rows::Keyring;
use crate::store::Error;

/// How many values are read, and wrapped anew by one transaction, at a time.
const PAGE: usize = 500;

/// A column that the master key wraps.
pub struct Wrapped {
    pub(super) table: &'static str,
    pub(super) column: &'static str,
    /// The column by which a row is found.
    pub(super) key: (&'static str, Kind),
    /// What the context of the secret needs besides.
    pub(super) also: Option<(&'static str, Kind)>,
    /// From the row's key and what is needed besides.
    pub(super) secret: for<'a> fn(&'a Value, &'a Value) -> Option<Secret<'a>>,
}

/// All of them. The look-up keys come last: what opens them is the master key of a vault that remembers no rotation.
pub(super) const WRAPPED: &[Wrapped] = &[
    Wrapped {
        table: "subjects",
        column: "wrapped_key",
        key: ("id", Kind::Id),
        also: None,
        secret: |id, _| Some(Secret::SubjectKey(id.id()?)),
    },
    Wrapped {
        table: "issuers",
        column: "wrapped_sealing_key",
        key: ("id", Kind::Id),
        also: None,
        secret: |id, _| Some(Secret::IssuerSealingKey(id.id()?)),
    },
    Wrapped {
        table: "issuer_keys",
        column: "wrapped_signing_key",
        key: ("did", Kind::Text),
        also: Some(("issuer", Kind::Id)),
        secret: |_, issuer| Some(Secret::IssuerSigningKey(issuer.id()?)),
    },
    Wrapped {
        table: "month_keys",
        column: "wrapped_key",
        key: ("month", Kind::Text),
        also: None,
        secret: |month, _| Some(Secret::MonthKey(month.text()?)),
    },
    Wrapped {
        table: "log_keys",
        column: "wrapped_signing_key",
        key: ("public_key", Kind::Bytes),
        also: Some(("log", Kind::Text)),
        secret: |public, log| Some(Secret::LogSigningKey(log.text()?, public.bytes()?.try_into().ok()?)),
    },
    Wrapped {
        table: "token_keys",
        column: "wrapped_signing_key",
        key: ("public_key", Kind::Bytes),
        also: None,
        secret: |public, _| Some(Secret::TokenSigningKey(public.bytes()?.try_into().ok()?)),
    },
    Wrapped {
        table: "accounts",
        column: "wrapped_profile",
        key: ("id", Kind::Id),
        also: None,
        secret: |id, _| Some(Secret::AccountProfile(id.id()?)),
    },
    Wrapped {
        table: "accounts",
        column: "wrapped_password",
        key: ("id", Kind::Id),
        also: None,
        secret: |id, _| Some(Secret::AccountPassword(id.id()?)),
    },
    Wrapped {
        table: "sessions",
        column: "wrapped_agent",
        key: ("id", Kind::Id),
        also: None,
        secret: |id, _| Some(Secret::SessionAgent(id.id()?)),
    },
    Wrapped {
        table: "settings",
        column: "lookup_keys",
        key: ("origin_base", Kind::Text),
        also: None,
        secret: |_, _| Some(Secret::LookupKeys),
    },
];

/// Neither what is absent nor what was destroyed and left empty is wrapped.
impl Wrapped {
    pub(super) fn count(&self) -> String {
        format!("select count(*) from {} where length({}) > 0", self.table, self.column)
    }

    /// The first page, or the one after the row whose key is `$1`, which both engines take.
    pub(super) fn select(&self, after: Option<&After>) -> String {
        let Wrapped { table, column, key: (key, _), .. } = self;
        // A constant in its place: every column's rows have three values.
        let also = self.also.map_or("null", |(also, _)| also);
        let after = after.map(|_| format!(" and {key} > $1")).unwrap_or_default();
        format!("select {key}, {column}, {also} from {table} where length({column}) > 0{after} order by {key} limit {PAGE}")
    }

    /// The same secret wrapped by the key that wraps now; `None` if it is.
    fn rewrap(&self, cell: Cell, keyring: &Keyring) -> Result<Option<Again>, Error> {
        let secret = (self.secret)(&cell.key, &cell.also);
        let secret = secret.ok_or_else(|| Error::Corrupt(format!("{}.{} holds what it cannot", self.table, self.key.0)))?;
        Ok(keyring.rewrap(secret, &cell.wrapped)?.map(|wrapped| Again { cell, wrapped }))
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.column)
    }
}

impl Value {
    fn id(&self) -> Option<uuid::Uuid> {
        uuid::Uuid::from_slice(self.bytes()?).ok()
    }

    fn bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }
}

/// Where a page ended: the key of its last row.
#[derive(Debug)]
pub struct After(pub(super) Value);

/// A value that the master key wraps, as it was read.
#[derive(Debug)]
pub struct Cell {
    /// What its row is found by.
    pub(super) key: Value,
    pub(super) wrapped: Vec<u8>,
    /// What the context of the secret needs besides.
    pub(super) also: Value,
}

/// The same secret wrapped anew.
#[derive(Debug)]
pub struct Again {
    pub(super) cell: Cell,
    pub(super) wrapped: Vec<u8>,
}

/// Held by the one process that rotates; dropping it, or the end of the process, lets another one.
#[must_use]
pub struct RotationGuard(#[expect(dead_code, reason = "kept for its drop")] Box<dyn Send + Sync>);

impl RotationGuard {
    /// `lock` gives the lock back when it is dropped.
    pub fn holding(lock: impl Send + Sync + 'static) -> RotationGuard {
        RotationGuard(Box::new(lock))
    }
}

impl fmt::Debug for RotationGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotationGuard(…)")
    }
}

/// What the vault keeps of the rotation of its master key.
#[async_trait]
pub trait Rotations: Send + Sync {
    /// Wraps and unwraps.
    fn keyring(&self) -> &Keyring;

    /// The master keys at hand.
    fn ring(&self) -> &Ring {
        self.keyring().ring()
    }

    /// What the vault says of its master key, and a moment before it was asked.
    async fn standing(&self) -> Result<(Standing, Instant), Error>;

    /// Reads how the rotation stands, and does as it says.
    ///
    /// # Errors
    /// A master key is needed that is not at hand.
    async fn follow_master_key(&self) -> Result<(), Error> {
        let (standing, read_at) = self.standing().await?;
        self.ring().follow(standing, read_at).await.map_err(|missing| Error::Failed(missing.into()))
    }

    /// The same where what was read is too old. Every call that wraps or opens a secret does so first.
    ///
    /// # Errors
    /// As [`Rotations::follow_master_key`].
    async fn keep_up(&self) -> Result<(), Error> {
        if self.ring().is_current() { Ok(()) } else { self.follow_master_key().await }
    }

    /// The master key that is wanted by what the vault says and is not at hand. Neither is its source asked, nor anything done.
    async fn lacking_master_key(&self) -> Result<Option<Lacking>, Error> {
        Ok(self.ring().lacking(&self.standing().await?.0))
    }

    /// The last rotation; `None` if there was none.
    async fn rotation(&self) -> Result<Option<Rotation>, Error> {
        Ok(self.standing().await?.0.rotation)
    }

    /// Puts `next` in the place of the one that is known; false, and nothing changed, when another stands there.
    async fn set_rotation(&self, known: Option<&Rotation>, next: &Rotation) -> Result<bool, Error>;

    /// Lets one process rotate at a time; `None` while another one does.
    async fn rotation_guard(&self) -> Result<Option<RotationGuard>, Error>;

    /// How many wrapped values there are.
    async fn count_wrapped(&self) -> Result<u64, Error>;

    /// A page of a column, by the statement of [`Wrapped::select`].
    async fn select_wrapped(&self, column: &'static Wrapped, after: Option<After>) -> Result<Vec<Cell>, Error>;

    /// Puts what was wrapped anew in the place of what was read, in one transaction, and answers how many values that were: what has been
    /// changed since, or destroyed, stays so.
    async fn replace_wrapped(&self, column: &'static Wrapped, again: Vec<Again>) -> Result<u64, Error>;

    /// Returns once every statement that was writing when it was called has come to its end.
    async fn outlast_writers(&self) -> Result<(), Error>;
}

/// Wraps everything anew that the key that wraps now does not open, once, and answers how much that was. `told` hears how many values
/// of how many were looked at.
///
/// # Errors
/// A store failed, or a secret is wrapped by a key that is not at hand.
pub async fn rewrap(vault: &(impl Rotations + ?Sized), told: &mut (dyn FnMut(u64, u64) + Send)) -> Result<u64, Error> {
    let total = vault.count_wrapped().await?;
    let (mut seen, mut changed) = (0, 0);
    told(0, total);
    for column in WRAPPED {
        let mut after = None;
        loop {
            vault.keep_up().await?;
            let page = vault.select_wrapped(column, after).await?;
            seen += page.len() as u64;
            after = page.last().filter(|_| page.len() == PAGE).map(|last| After(last.key.clone()));
            let again = page.into_iter().filter_map(|cell| column.rewrap(cell, vault.keyring()).transpose());
            let again = again.collect::<Result<Vec<Again>, Error>>()?;
            if !again.is_empty() {
                changed += vault.replace_wrapped(column, again).await?;
            }
            // Others go on making subjects.
            told(seen.min(total), total);
            if after.is_none() {
                break;
            }
        }
    }
    told(total, total);
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::random::SystemRandom;
    use crate::store::Url;
    use crate::testing::postgres::Database;
    use crate::vault::MasterKey;
    use crate::vault::copy::TABLES;
    use crate::vault::copy::tests::{filled, folder, open_with, values};
    use crate::vault::master_key::MasterKeys;
    use crate::vault::master_key::ring::Stage;

    fn named() -> BTreeSet<String> {
        WRAPPED.iter().map(|column| format!("{column:?}")).collect()
    }

    /// That the list of the tables is the schema's is held by the tests of `copy`.
    #[test]
    fn every_wrapped_column_of_the_schema_is_in_the_list() {
        let columns = TABLES.iter().flat_map(|table| table.columns.iter().map(|(column, _)| (table.name, *column)));
        let wrapped = columns.filter(|(_, column)| column.starts_with("wrapped_") || *column == "lookup_keys");
        let wrapped: BTreeSet<String> = wrapped.map(|(table, column)| format!("{table}.{column}")).collect();
        assert_eq!(named(), wrapped, "a wrapped column that is not in WRAPPED is lost with the old master key");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrapped_is_wrapped_anew_and_nothing_else_is_changed() {
        let database = Database::create().await;
        let (_folder, sqlite) = folder();
        for url in [sqlite, Url::Postgres(database.url.clone().into())] {
            filled(&url, 3).await;
            let old = MasterKey::from_bytes([1; 32]);
            let new = MasterKey::from_bytes([2; 32]);
            let rotation = Rotation { from: old.fingerprint(), to: new.fingerprint(), stage: Stage::Wrapping };
            let vault = open_with(&url, Keyring::new(MasterKeys::and(old, new), Arc::new(SystemRandom))).await;
            let before = vault.rotation().await.unwrap();
            assert!(vault.set_rotation(before.as_ref(), &rotation).await.unwrap());
            vault.follow_master_key().await.unwrap();
            let sorted = |mut rows: Vec<Vec<Value>>| {
                rows.sort_by_key(|row| format!("{row:?}"));
                rows
            };
            let before = values(&url).await;
            rewrap(&*vault, &mut |_, _| {}).await.unwrap();
            let mut changed = BTreeSet::new();
            for ((table, before), (_, after)) in before.into_iter().zip(values(&url).await) {
                for (before, after) in sorted(before).iter().zip(&sorted(after)) {
                    for (at, (column, _)) in table.columns.iter().enumerate() {
                        if before[at] != after[at] {
                            changed.insert(format!("{}.{column}", table.name));
                        }
                    }
                }
            }
            assert_eq!(changed, named());
        }
    }
}

//! A whole vault from one store to another, row by row, as it is: what is wrapped stays wrapped, and opens with the same master key only.
//!
//! What a vault holds is told by one list, `TABLES`, which a test holds against the schema of either engine: a table or a column
//! that is forgotten here would be lost by whoever moves. The statements follow from the list and are the only ones of this crate
//! that do not stand in files; a test runs each of them on its engine.
//!
//! The rows of all tables are read in one snapshot and written in one transaction, which takes the place of whatever stood there: a
//! copy is there whole or not at all, and a key that was destroyed between two copies is destroyed in the second.

use secrecy::ExposeSecret as _;
use tokio::sync::mpsc;

use super::OpenError;
use super::rows::{Keyring, Settings};
use crate::store::{Error, Url};
use crate::vault::{postgres, sqlite};

/// A column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 16 bytes, on PostgreSQL a uuid.
    Id,
    Bytes,
    Text,
    Number,
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    /// Also of an id.
    Bytes(Vec<u8>),
    Text(String),
    Number(i64),
}

/// A table and its columns, without those whose value is given by there being one row.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// What is copied, in an order in which no row refers to one that is not there yet. The settings come first: they tell whose vault it is.
pub(super) const TABLES: &[Table] = &[
    Table { name: "settings", columns: &[("origin_base", Kind::Text), ("lookup_keys", Kind::Bytes)] },
    Table { name: "master_key_rotation", columns: &[("from_key", Kind::Text), ("to_key", Kind::Text), ("stage", Kind::Text)] },
    Table {
        name: "subjects",
        columns: &[
            ("id", Kind::Id),
            ("issuer", Kind::Id),
            ("name_ref", Kind::Bytes),
            ("email_ref", Kind::Bytes),
            ("wrapped_key", Kind::Bytes),
        ],
    },
    Table {
        name: "issuers",
        columns: &[
            ("id", Kind::Id),
            ("name", Kind::Text),
            ("did", Kind::Text),
            ("wrapped_sealing_key", Kind::Bytes),
            ("display_name", Kind::Text),
            ("url", Kind::Text),
            ("deactivated_at", Kind::Number),
        ],
    },
    Table {
        name: "issuer_keys",
        columns: &[("did", Kind::Text), ("issuer", Kind::Id), ("number", Kind::Number), ("wrapped_signing_key", Kind::Bytes)],
    },
    Table { name: "month_keys", columns: &[("month", Kind::Text), ("wrapped_key", Kind::Bytes)] },
    Table {
        name: "api_keys",
        columns: &[
            ("id", Kind::Id),
            ("hash", Kind::Bytes),
            ("prefix", Kind::Text),
            ("roles", Kind::Text),
            ("issuer", Kind::Id),
            ("types", Kind::Text),
            ("name", Kind::Text),
            ("created_at", Kind::Number),
            ("expires_at", Kind::Number),
            ("last_used_at", Kind::Number),
            ("revoked_at", Kind::Number),
        ],
    },
    Table {
        name: "accounts",
        columns: &[
            ("id", Kind::Id),
            ("issuer", Kind::Id),
            ("roles", Kind::Text),
            ("username_ref", Kind::Bytes),
            ("email_ref", Kind::Bytes),
            ("wrapped_profile", Kind::Bytes),
            ("wrapped_password", Kind::Bytes),
            ("created_at", Kind::Number),
            ("is_recorded", Kind::Number),
            ("deactivated_at", Kind::Number),
        ],
    },
    Table {
        name: "sessions",
        columns: &[
            ("id", Kind::Id),
            ("account", Kind::Id),
            ("wrapped_agent", Kind::Bytes),
            ("created_at", Kind::Number),
            ("refreshed_at", Kind::Number),
            ("expires_at", Kind::Number),
            ("ended_at", Kind::Number),
        ],
    },
    Table {
        name: "refresh_tokens",
        columns: &[("hash", Kind::Bytes), ("session", Kind::Id), ("created_at", Kind::Number), ("used_at", Kind::Number)],
    },
    Table {
        name: "token_keys",
        columns: &[
            ("kid", Kind::Text),
            ("public_key", Kind::Bytes),
            ("wrapped_signing_key", Kind::Bytes),
            ("created_at", Kind::Number),
            ("retired_at", Kind::Number),
        ],
    },
    Table {
        name: "log_keys",
        columns: &[
            ("log", Kind::Text),
            ("number", Kind::Number),
            ("public_key", Kind::Bytes),
            ("wrapped_signing_key", Kind::Bytes),
            ("created_at", Kind::Number),
        ],
    },
    Table { name: "checkpoint_guard", columns: &[("log", Kind::Text), ("note", Kind::Text)] },
    Table { name: "erasures", columns: &[("subject", Kind::Id), ("noted_at", Kind::Number)] },
];

/// Tables that belong to a place: who runs there.
#[cfg(test)]
pub(super) const LEFT: &[&str] = &["workers"];

/// Columns that hold one row to be the only one.
#[cfg(test)]
pub(super) const SINGLETONS: &[&str] = &["singleton", "only_row"];

/// How many rows are handed over at a time.
pub(super) const CHUNK: usize = 1000;

/// Rows of one table.
pub(super) struct Rows {
    pub(super) table: &'static Table,
    pub(super) rows: Vec<Vec<Value>>,
}

/// What may stand where rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// The same vault, which is replaced, or none.
    Vault,
    /// None.
    Nothing,
}

pub(super) type Sender = mpsc::Sender<Result<Rows, Error>>;
pub(super) type Receiver = mpsc::Receiver<Result<Rows, Error>>;

impl Table {
    fn columns(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn select(&self) -> String {
        format!("select {} from {}", self.columns(), self.name)
    }

    pub(super) fn delete(&self) -> String {
        format!("delete from {}", self.name)
    }

    /// `values` is what stands for a row, or for many.
    pub(super) fn insert(&self, values: &str) -> String {
        format!("insert into {} ({}) {values}", self.name, self.columns())
    }
}

impl Rows {
    pub(super) fn of(table: &'static Table) -> Rows {
        Rows { table, rows: Vec::new() }
    }
}

/// Why a vault was not copied. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The vault that is there was made by another first start.
    #[error("the vault that is there is another one")]
    Another,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What is known of a vault without its master key: that it is one, and whose.
///
/// # Errors
/// The store failed. That there is no vault is an answer.
pub async fn settings(url: &Url) -> Result<Option<Settings>, Error> {
    match url {
        Url::Sqlite(folder) => sqlite::stored_settings(folder).await,
        Url::Postgres(url) => postgres::stored_settings(url.expose_secret()).await,
    }
}

/// Whether `keyring`'s master key opens the vault with these settings.
///
/// # Errors
/// [`OpenError::WrongMasterKey`].
pub fn require_key(keyring: &Keyring, settings: &Settings) -> Result<(), OpenError> {
    keyring.lookup_keys(settings).map(drop)
}

/// Makes the vault at `to` what the one at `from` is, and answers how many rows it has. Where there is none, its tables are made. By
/// `keyring` it is seen that both are one vault's where one of them was wrapped anew.
///
/// # Errors
/// [`CopyError::Another`]; a store failed.
pub async fn copy(from: &Url, to: &Url, keyring: &Keyring) -> Result<u64, CopyError> {
    let theirs = settings(from).await?.ok_or(Error::NotMigrated)?;
    if settings(to).await?.is_some_and(|ours| !keyring.is_one_vault(&ours, &theirs)) {
        return Err(CopyError::Another);
    }
    let (sender, receiver) = mpsc::channel(2);
    let reading = async {
        match from {
            Url::Sqlite(folder) => sqlite::read_all(folder, sender).await,
            Url::Postgres(url) => postgres::read_all(url.expose_secret(), sender).await,
        }
    };
    let writing = async {
        match to {
            Url::Sqlite(folder) => sqlite::write_all(folder, receiver, Onto::Vault).await,
            Url::Postgres(url) => postgres::write_all(url.expose_secret(), receiver, Onto::Vault).await,
        }
    };
    // The reader tells the writer of its failures, and ends when the writer has.
    let ((), written) = tokio::join!(reading, writing);
    Ok(written?)
}

#[cfg(test)]
pub(super) mod tests;

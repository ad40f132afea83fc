//! Which store a URL names, and the ways in which a store can fail.
//!
//! An [`Error`] says that the world failed; that a rule said no is never told through it.

pub mod postgres;
pub mod roles;
pub mod sqlite;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

/// Where a store lives.
#[derive(Clone)]
pub enum Url {
    /// `sqlite:DIR`: files in one folder of this host.
    Sqlite(PathBuf),
    /// `postgres://…`: a schema of its own in that database. It may hold a password.
    Postgres(SecretString),
}

impl PartialEq for Url {
    fn eq(&self, other: &Url) -> bool {
        match (self, other) {
            (Url::Sqlite(one), Url::Sqlite(other)) => one == other,
            (Url::Postgres(one), Url::Postgres(other)) => one.expose_secret() == other.expose_secret(),
            _ => false,
        }
    }
}

impl Eq for Url {}

impl Url {
    /// Whether both name one place, however they spell it: one folder, or one database of one server. That a server has two names is not
    /// known here, but to [`postgres::is_one_database`].
    #[must_use]
    pub fn is_same_place(&self, other: &Url) -> bool {
        match (self, other) {
            (Url::Sqlite(one), Url::Sqlite(other)) => place(one) == place(other),
            (Url::Postgres(one), Url::Postgres(other)) => postgres::is_same_database(one.expose_secret(), other.expose_secret()),
            _ => false,
        }
    }
}

/// A folder without detours: links are followed as far as it is there, and the rest is named as it would be made.
fn place(folder: &Path) -> PathBuf {
    let mut place = PathBuf::new();
    for component in std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).components() {
        match component {
            Component::ParentDir => drop(place.pop()),
            further => place.push(further),
        }
        place = place.canonicalize().unwrap_or(place);
    }
    place
}

/// A text that is no store's URL. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedUrl {
    /// It names no kind of store.
    #[error("expected sqlite:DIR or postgres://user@host/database")]
    Kind,
    /// It is meant for PostgreSQL.
    #[error("expected postgres://user@host:port/database?parameter=value, but the host, the port or a parameter is malformed")]
    Postgres,
}

impl FromStr for Url {
    type Err = MalformedUrl;

    fn from_str(text: &str) -> Result<Self, MalformedUrl> {
        if let Some(folder) = text.strip_prefix("sqlite:") {
            return if folder.is_empty() { Err(MalformedUrl::Kind) } else { Ok(Url::Sqlite(folder.into())) };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return if postgres::is_url(text) { Ok(Url::Postgres(text.into())) } else { Err(MalformedUrl::Postgres) };
        }
        Err(MalformedUrl::Kind)
    }
}

/// Shown without user, password or parameters.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Url::Sqlite(folder) => write!(f, "sqlite:{}", folder.display()),
            Url::Postgres(text) => {
                let rest = text.expose_secret().split_once("://").map_or("", |(_, rest)| rest);
                let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                write!(f, "postgres://{}", rest.split('?').next().unwrap_or(""))
            }
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What lies beneath an [`Error`].
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The world failed. A variant for each thing that a caller can do differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or it was lost. A later try can help.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Source),
    /// Another process holds the store for longer than one waits. A later try can help.
    #[error("the store is busy")]
    Busy,
    /// The login lacks a right.
    #[error("the store's login lacks a right")]
    Denied(#[source] Source),
    /// The store's tables are missing or older than this program. `credence migrate` helps.
    #[error("the store's schema is missing or older than this program: run `credence migrate`")]
    NotMigrated,
    /// The store has been there, by what another one remembers, and is not any more.
    #[error("it is missing, though it has been there: restore it from a backup; only a first start makes a new one")]
    Missing,
    /// There is a log and no vault beside it.
    #[error(
        "there is none beside the log, which without it is a read-only archive: it is replayed, checked and exported, but not served; \
         where there has been one, restore it from a backup"
    )]
    Archive,
    /// The log that is there is none of the origin that is wanted.
    #[error("there is a log of the origin {found}, not of {expected}")]
    OtherLog {
        /// What the log says.
        found: String,
        /// What is wanted.
        expected: String,
    },
    /// The log was made beside another vault.
    #[error("its origin is {found}, and the vault's is {expected}: it belongs to another vault, or the vault was replaced")]
    Foreign {
        /// What the log says.
        found: String,
        /// What the vault says.
        expected: String,
    },
    /// The store was written by a newer program.
    #[error("the store's schema is newer than this program")]
    NewerSchema,
    /// The server would lose acknowledged commits: the setting is named.
    #[error("the server runs with {0}, which loses acknowledged commits")]
    UnsafeDurability(String),
    /// The store holds what this program cannot have written.
    #[error("the store holds what cannot be: {0}")]
    Corrupt(String),
    /// Anything else; trying again will not help.
    #[error("the store failed")]
    Failed(#[source] Source),
}

impl Error {
    /// Whether the same call can succeed later without anybody mending anything here.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_same_place(one: &str, other: &str) -> bool {
        let (one, other): (Url, Url) = (one.parse().unwrap(), other.parse().unwrap());
        assert_eq!(one.is_same_place(&other), other.is_same_place(&one));
        one.is_same_place(&other)
    }

    #[test]
    fn one_folder_is_one_place_however_it_is_spelt() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("there")).unwrap();
        std::os::unix::fs::symlink("there", folder.path().join("link")).unwrap();
        let at = |path: &str| format!("sqlite:{}/{path}", folder.path().display());
        for other in ["there/", "./there", "there/../there", "link", "missing/../there", "link/../link/."] {
            assert!(is_same_place(&at("there"), &at(other)), "{other}");
        }
        assert!(is_same_place(&at("there/missing"), &at("missing/../link/./missing")));
        assert!(is_same_place("sqlite:missing", "sqlite:./missing/again/.."));
        for other in ["missing", "there/missing", "there/.."] {
            assert!(!is_same_place(&at("there"), &at(other)), "{other}");
        }
    }

    #[test]
    fn one_database_is_one_place_whoever_logs_in() {
        let one = "postgres://one@db.example/credence";
        for other in ["postgresql://other:secret@db.example:5432/credence", "postgres://db.example/credence?application_name=copy"] {
            assert!(is_same_place(one, other), "{other}");
        }
        let others = ["postgres://one@db.example/other", "postgres://one@db.example:5433/credence", "postgres://one@other/credence"];
        for other in others.into_iter().chain(["sqlite:credence"]) {
            assert!(!is_same_place(one, other), "{other}");
        }
    }

    #[test]
    fn two_servers_on_two_sockets_are_two_places_whatever_host_is_named_beside_them() {
        let one = "postgres://one@localhost/credence?host=/run/a";
        for other in ["postgres://other@elsewhere/credence?host=/run/a/", "postgres://%2Frun%2Fa/credence"] {
            assert!(is_same_place(one, other), "{other}");
        }
        let others = ["postgres://one@localhost/credence?host=/run/b", "postgres://one@localhost/credence"];
        for other in others.into_iter().chain(["postgres://one@localhost:5433/credence?host=/run/a"]) {
            assert!(!is_same_place(one, other), "{other}");
        }
    }
}

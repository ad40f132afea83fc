//! A whole vault in a file, for a while: encrypted under the master key, and refused once it is older than it was said to become.
//!
//! What is destroyed in a vault lives on in its backups. So they are short-lived, and a restoration leaves out what was destroyed, or taken
//! away, since they were made ([`Since`]). **The format** is described in docs/FORMAT.md: a header that everybody can read, and rows of
//! the tables in [`copy`](super::copy), read in one snapshot, encrypted as a stream under a key that follows from the master key and
//! the header. Nothing is written before the whole file was found to be as it was made.

mod since;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use ciborium::Value as Cbor;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

pub use self::since::{Lost, Since, lost};
use self::stream::{Decrypt, Encrypt};
use super::copy::{Onto, Receiver, Rows, Sender, TABLES, Value};
use super::master_key::ring::Stage;
use super::master_key::{Fingerprint, MasterKey, Ring, Secret};
use super::{postgres, sqlite};
use crate::store::{self, Url};
use crate::{Random, Timestamp, codec};

/// What a file begins with.
const MAGIC: &[u8] = b"credence vault backup 1\n";
/// What its key is for; permanent.
const PURPOSE: &str = "credence 2026-11 vault backup";
/// No header is longer.
const HEADER_BYTES_MAX: u32 = 4096;

/// What a backup tells of itself, and to everybody. In encoded-key order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The fingerprint of the master key.
    pub key: String,
    /// How many events the audit log had before the vault was read.
    pub audit: u64,
    /// So that no two files are encrypted by one key.
    salt: ByteArray<32>,
    /// How many events the ledger had before the vault was read: the subjects of all of them are in the backup.
    pub ledger: u64,
    /// The base of the logs' origins.
    pub origin: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Until when it may be restored.
    pub valid_until: Timestamp,
}

/// What is known when a backup is made.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// When.
    pub made_at: Timestamp,
    /// Until when it may be restored.
    pub valid_until: Timestamp,
    /// How many events the ledger has.
    pub ledger: u64,
    /// How many events the audit log has.
    pub audit: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Part of the vault is wrapped by a key that is about to be destroyed.
    #[error("the master key is being rotated: finish that first")]
    Rotating,
    /// The file cannot be written.
    #[error("the backup cannot be written")]
    Write(#[source] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why a backup cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It does not begin as one.
    #[error("it is no backup of a vault that this program understands")]
    NotOne,
    /// It was made under a master key that is not at hand.
    #[error("it was made under the master key {0}, which is not at hand; once that is destroyed, so is the backup")]
    OtherMasterKey(Fingerprint),
    /// It is too old.
    #[error("it was made at {made_at} and could be restored until {valid_until}")]
    Expired {
        /// When it was made.
        made_at: Timestamp,
        /// Until when it could be restored.
        valid_until: Timestamp,
    },
    /// It was cut, reordered or altered.
    #[error("it is not as it was made")]
    Altered(#[source] io::Error),
    /// It was made by a program whose vault has other tables.
    #[error("its tables are those of another version of this program: restore it with that one")]
    OtherTables,
}

/// Why a vault was not restored. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What was restored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many rows were written.
    pub rows: u64,
    /// How many subjects were left out because they have been erased.
    pub erased: u64,
    /// How many months' keys were left out because they have been destroyed.
    pub months: u64,
    /// How many keys, accounts and organisations are as they were changed since.
    pub changed: u64,
}

/// A backup that lacks its end, without which nobody restores it: so that it can be recorded before it can be used.
pub struct Unfinished<W> {
    out: Encrypt<W>,
    /// How many rows it has.
    pub rows: u64,
}

impl<W: Write> Unfinished<W> {
    /// What was written to.
    pub fn out(&mut self) -> &mut W {
        self.out.out()
    }

    /// Writes the end, at most 64 KiB, and gives back what was written to.
    ///
    /// # Errors
    /// It cannot be written: then there is no backup.
    pub fn finish(self) -> io::Result<W> {
        self.out.finish()
    }
}

/// Writes the vault at `url`, as it is at one moment, to `out`, under the key that wraps now; all but the end.
///
/// # Errors
/// See [`BackupError`].
pub async fn write<W: Write + Send + 'static>(
    url: &Url,
    ring: &Ring,
    terms: Terms,
    random: &dyn Random,
    out: W,
) -> Result<Unfinished<W>, BackupError> {
    let settings = super::copy::settings(url).await?.ok_or(store::Error::NotMigrated)?;
    let key = ring.wrapping();
    let header = Header {
        key: key.fingerprint().to_string(),
        audit: terms.audit,
        salt: ByteArray::new(crate::random::bytes(random)),
        ledger: terms.ledger,
        origin: settings.origin_base,
        made_at: terms.made_at,
        valid_until: terms.valid_until,
    };
    let (sender, receiver) = mpsc::channel(2);
    let writing = tokio::task::spawn_blocking(move || write_rows(&header, &key, receiver, out));
    match url {
        Url::Sqlite(folder) => sqlite::read_all(folder, sender).await,
        Url::Postgres(url) => postgres::read_all(url.expose_secret(), sender).await,
    }
    writing.await.map_err(|failed| BackupError::Store(store::Error::Failed(failed.into())))?
}

fn write_rows<W: Write>(header: &Header, key: &MasterKey, mut rows: Receiver, mut out: W) -> Result<Unfinished<W>, BackupError> {
    let header = codec::encode(header);
    let length = u32::try_from(header.len()).map_err(|long| BackupError::Write(io::Error::other(long)))?;
    let begun = [MAGIC, &length.to_be_bytes(), &header].concat();
    out.write_all(&begun).map_err(BackupError::Write)?;
    let mut out = Encrypt::new(out, &file_key(key, &begun));
    put(&mut out, &tables())?;
    let (mut written, mut last) = (0, None);
    while let Some(sent) = rows.blocking_recv() {
        let Rows { table, rows } = sent?;
        require_one_key(table.name, &rows, key)?;
        written += rows.len() as u64;
        last = TABLES.iter().position(|each| each.name == table.name);
        let rows: Vec<Cbor> = rows.into_iter().map(|row| Cbor::Array(row.into_iter().map(Cbor::from).collect())).collect();
        put(&mut out, &Cbor::Array(vec![table.name.into(), Cbor::Array(rows)]))?;
    }
    if last != Some(TABLES.len() - 1) {
        return Err(BackupError::Store(store::Error::Failed("the vault was not read to its end".into())));
    }
    Ok(Unfinished { out, rows: written })
}

/// In the snapshot all must be wrapped by the one key that the backup is encrypted under.
fn require_one_key(table: &str, rows: &[Vec<Value>], key: &MasterKey) -> Result<(), BackupError> {
    let text = |value: Option<&Value>| if let Some(Value::Text(text)) = value { Stage::from_text(text) } else { None };
    let opens = |value: Option<&Value>| matches!(value, Some(Value::Bytes(bytes)) if key.unwrap(Secret::LookupKeys, bytes).is_ok());
    let is_one = rows.iter().all(|row| match table {
        "settings" => opens(row.get(1)),
        "master_key_rotation" => text(row.get(2)) != Some(Stage::Wrapping),
        _ => true,
    });
    if is_one { Ok(()) } else { Err(BackupError::Rotating) }
}

/// Of one file: everything that its header says takes part in it.
fn file_key(key: &MasterKey, begun: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(key.derive(PURPOSE, begun))
}

/// The tables' names and columns, in the order in which their rows stand.
fn tables() -> Cbor {
    let table = |table: &super::copy::Table| {
        Cbor::Array(vec![table.name.into(), Cbor::Array(table.columns.iter().map(|(column, _)| (*column).into()).collect())])
    };
    Cbor::Array(TABLES.iter().map(table).collect())
}

fn put(out: &mut impl Write, item: &Cbor) -> Result<(), BackupError> {
    ciborium::into_writer(item, out).map_err(|failed| match failed {
        ciborium::ser::Error::Io(failed) => BackupError::Write(failed),
        ciborium::ser::Error::Value(failed) => BackupError::Write(io::Error::other(failed)),
    })
}

/// A backup that was found to be as it was made.
pub struct Backup {
    file: File,
    header: Header,
    key: Zeroizing<[u8; 32]>,
    /// Where the encrypted part begins.
    body: u64,
}

impl Backup {
    /// Opens a backup with one of the master keys at hand, and reads all of it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn open(path: &Path, ring: &Ring, now: Timestamp) -> Result<Backup, Refused> {
        let mut file = File::open(path).map_err(Refused::Read)?;
        let begun = begin(&mut file)?;
        let header: Header = codec::decode(&begun[MAGIC.len() + 4..]).map_err(|_| Refused::NotOne)?;
        let fingerprint = header.key.parse().map_err(|_| Refused::NotOne)?;
        let key = ring.find(fingerprint).ok_or(Refused::OtherMasterKey(fingerprint))?;
        let backup = Backup { file, key: file_key(&key, &begun), header, body: begun.len() as u64 };
        // Who altered the header, to have it valid for longer, has another key.
        backup.read(|_| Ok(()))?;
        let Header { made_at, valid_until, .. } = backup.header;
        if now > valid_until { Err(Refused::Expired { made_at, valid_until }) } else { Ok(backup) }
    }

    /// What it tells of itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Makes the vault at `url`, where there is none, what it was; but for what was destroyed or taken away since.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn restore(self, url: &Url, since: &Arc<Since>) -> Result<Restored, RestoreError> {
        let ((sender, receiver), since) = (mpsc::channel(2), Arc::clone(since));
        let reading = tokio::task::spawn_blocking(move || self.send(&since, &sender));
        let written = match url {
            Url::Sqlite(folder) => sqlite::write_all(folder, receiver, Onto::Nothing).await,
            Url::Postgres(url) => postgres::write_all(url.expose_secret(), receiver, Onto::Nothing).await,
        };
        // Whoever writes ends when its rows do, and tells of what it failed by.
        let sent = reading.await.map_err(|failed| store::Error::Failed(failed.into()))?;
        match (sent, written) {
            (Err(refused), _) => Err(refused.into()),
            (Ok(restored), written) => Ok(Restored { rows: written?, ..restored }),
        }
    }

    fn send(&self, since: &Since, sender: &Sender) -> Result<Restored, Refused> {
        let mut restored = Restored::default();
        let sent = self.read(|mut rows| {
            since.apply(&mut rows, &mut restored);
            // Who has stopped listening tells why itself.
            let _ = sender.blocking_send(Ok(rows));
            Ok(())
        });
        if let Err(refused) = &sent {
            let _ = sender.blocking_send(Err(store::Error::Failed(refused.to_string().into())));
        }
        sent.map(|()| restored)
    }

    /// Reads it to its end.
    fn read(&self, mut taken: impl FnMut(Rows) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.body)).map_err(Refused::Read)?;
        let mut plain = Decrypt::new(BufReader::with_capacity(1 << 17, file), &self.key);
        if get(&mut plain)? != tables() {
            return Err(Refused::OtherTables);
        }
        while !plain.is_at_end().map_err(Refused::Altered)? {
            taken(rows(get(&mut plain)?).ok_or(Refused::NotOne)?)?;
        }
        Ok(())
    }
}

/// A file's beginning, header and all.
fn begin(file: &mut File) -> Result<Vec<u8>, Refused> {
    let read = |file: &mut File, bytes: &mut [u8]| match file.read_exact(bytes) {
        Ok(()) => Ok(()),
        Err(short) if short.kind() == io::ErrorKind::UnexpectedEof => Err(Refused::NotOne),
        Err(failed) => Err(Refused::Read(failed)),
    };
    let mut begun = vec![0; MAGIC.len() + 4];
    read(file, &mut begun)?;
    let (magic, length) = begun.split_at(MAGIC.len());
    let length = length.try_into().map(u32::from_be_bytes).ok().filter(|length| *length <= HEADER_BYTES_MAX && magic == MAGIC);
    let length = length.ok_or(Refused::NotOne)?;
    let from = begun.len();
    begun.resize(from + length as usize, 0);
    read(file, &mut begun[from..])?;
    Ok(begun)
}

fn get(plain: &mut impl Read) -> Result<Cbor, Refused> {
    ciborium::from_reader(plain).map_err(|failed| match failed {
        ciborium::de::Error::Io(failed) => Refused::Altered(failed),
        _ => Refused::NotOne,
    })
}

fn rows(item: Cbor) -> Option<Rows> {
    let [name, rows]: [Cbor; 2] = item.into_array().ok()?.try_into().ok()?;
    let table = TABLES.iter().find(|table| Some(table.name) == name.as_text())?;
    let row = |row: Cbor| {
        let row: Vec<Value> = row.into_array().ok()?.into_iter().map(|value| Value::try_from(value).ok()).collect::<Option<_>>()?;
        (row.len() == table.columns.len()).then_some(row)
    };
    Some(Rows { table, rows: rows.into_array().ok()?.into_iter().map(row).collect::<Option<_>>()? })
}

impl From<Value> for Cbor {
    fn from(value: Value) -> Cbor {
        match value {
            Value::Null => Cbor::Null,
            Value::Bytes(bytes) => Cbor::Bytes(bytes),
            Value::Text(text) => Cbor::Text(text),
            Value::Number(number) => Cbor::Integer(number.into()),
        }
    }
}

impl TryFrom<Cbor> for Value {
    type Error = Cbor;

    fn try_from(value: Cbor) -> Result<Value, Cbor> {
        match value {
            Cbor::Null => Ok(Value::Null),
            Cbor::Bytes(bytes) => Ok(Value::Bytes(bytes)),
            Cbor::Text(text) => Ok(Value::Text(text)),
            Cbor::Integer(number) => number.try_into().map(Value::Number).map_err(|_| Cbor::Integer(number)),
            other => Err(other),
        }
    }
}

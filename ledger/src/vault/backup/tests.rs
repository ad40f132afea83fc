//! A vault comes back from its backup, on either engine, but for what was destroyed since; and no other file passes for one.

use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::chain::Origin;
use crate::event::audit::{
    AccountDeactivated, AuditDetailsShredded, IssuerChanged, KeyReplaced, KeyRevoked, PasswordChanged, ProfileChanged, RolesChanged,
    SessionEnded,
};
use crate::event::audit::{EndedBy, MasterKeyRotated};
use crate::event::credential::{CredentialIssued, CredentialRevoked};
use crate::event::subject::SubjectErased;
use crate::event::{New, Origination, Payload};
use crate::log::memory::Memory;
use crate::log::{Append, Expected, Log, Outcome};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::testing::ManualClock;
use crate::testing::postgres::Database;
use crate::vault::copy::tests::{filled, folder, open_with, values};
use crate::vault::master_key::MasterKeys;
use crate::vault::master_key::ring::Rotation;
use crate::vault::rows::Keyring;
use crate::vault::{Role, SubjectRefs};
use crate::{LogName, Stream};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn noon() -> Timestamp {
    Timestamp::from_micros(1_767_268_800_000_000)
}

fn keyring(keys: impl Into<MasterKeys>) -> Keyring {
    Keyring::new(keys, Arc::new(SystemRandom))
}

fn key(digit: u8) -> MasterKey {
    MasterKey::from_bytes([digit; 32])
}

/// As long as a month has thirty days.
fn terms() -> Terms {
    Terms { made_at: noon(), valid_until: noon().plus(30 * DAY), ledger: 0, audit: 0 }
}

/// A backup of the vault at `url` in a file of its own, and how many rows it has.
async fn backed_up(url: &Url, folder: &TempDir) -> (std::path::PathBuf, u64) {
    let path = folder.path().join("backup");
    let file = File::create(&path).unwrap();
    let unfinished = write(url, keyring(key(1)).ring(), terms(), &SystemRandom, file).await.unwrap();
    let rows = unfinished.rows;
    unfinished.finish().unwrap();
    (path, rows)
}

fn opened(path: &Path, digit: u8) -> Result<Backup, Refused> {
    Backup::open(path, keyring(key(digit)).ring(), noon())
}

/// Everything but sessions, in an order of its own.
async fn lasting(url: &Url) -> Vec<String> {
    let mut found = Vec::new();
    for (table, rows) in values(url).await {
        if !matches!(table.name, "sessions" | "refresh_tokens") {
            found.extend(rows.iter().map(|row| format!("{} {row:?}", table.name)));
        }
    }
    found.sort();
    found
}

fn memory(name: LogName) -> Memory {
    Memory::new(name.clone(), Origin::new("copy.example", &name), Arc::new(ManualClock::at(noon())))
}

async fn append<P: Payload>(log: &dyn Log, stream: Stream, payload: &P) {
    let events = vec![New::of(payload, &Origination::system("test").metadata(&SystemRandom))];
    let done = log.commit(vec![Append::to(stream, Expected::Any, events)]).await.unwrap();
    assert!(matches!(done[..], [Outcome::Appended(_)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_comes_back_from_its_backup_on_either_engine() {
    let database = Database::create().await;
    let ((_first, first), postgres, (_last, last), files) =
        (folder(), Url::Postgres(database.url.clone().into()), folder(), tempfile::tempdir().unwrap());
    // More than a chunk, and more than are handed over at a time.
    filled(&first, 2300).await;
    let expected = lasting(&first).await;
    for (from, to) in [(&first, &postgres), (&postgres, &last)] {
        let (path, rows) = backed_up(from, &files).await;
        let restored = opened(&path, 1).unwrap().restore(to, &Arc::default()).await.unwrap();
        // The session and its token stay away.
        let sessions = if from == &first { 2 } else { 0 };
        assert_eq!(restored, Restored { rows: rows - sessions, ..Restored::default() });
        assert_eq!(lasting(to).await, expected);
        let vault = open_with(to, keyring(key(1))).await;
        assert_eq!(vault.origin_base(), "copy.example");
        assert!(vault.sessions(Uuid::from_u128(1), Timestamp::EPOCH).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_vault_is_replaced() {
    let database = Database::create().await;
    let ((_first, first), (_other, other), files) = (folder(), folder(), tempfile::tempdir().unwrap());
    let postgres = Url::Postgres(database.url.clone().into());
    filled(&first, 2).await;
    let (path, _) = backed_up(&first, &files).await;
    for to in [other, postgres] {
        filled(&to, 3).await;
        let before = lasting(&to).await;
        let refused = opened(&path, 1).unwrap().restore(&to, &Arc::default()).await;
        assert!(matches!(refused, Err(RestoreError::Store(_))));
        assert_eq!(lasting(&to).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_as_it_was_made_is_refused() {
    let ((_first, first), files) = (folder(), tempfile::tempdir().unwrap());
    filled(&first, 1200).await;
    let (path, _) = backed_up(&first, &files).await;
    assert!(matches!(opened(&path, 2), Err(Refused::OtherMasterKey(named)) if named == key(1).fingerprint()));
    let whole = std::fs::read(&path).unwrap();
    assert!(whole.len() > 2 * 65_552, "{}", whole.len());
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        opened(&path, 1).is_err()
    };
    for at in (0..whole.len()).step_by(997).chain(0..400) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        assert!(refused(&altered), "byte {at}");
    }
    for end in (0..whole.len()).step_by(4999).chain([whole.len() - 1]) {
        assert!(refused(&whole[..end]), "cut at {end}");
    }
    assert!(refused(&[whole.as_slice(), b"x"].concat()));
    assert!(!refused(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_no_later_than_it_says_whatever_is_written_over_that() {
    let ((_first, first), files) = (folder(), tempfile::tempdir().unwrap());
    filled(&first, 2).await;
    let (path, _) = backed_up(&first, &files).await;
    let at = |now| Backup::open(&path, keyring(key(1)).ring(), now);
    assert_eq!(at(terms().valid_until).unwrap().header().made_at, noon());
    let late = terms().valid_until.plus(Duration::from_micros(1));
    assert!(matches!(at(late), Err(Refused::Expired { .. })));
    // Ten years more.
    let mut bytes = std::fs::read(&path).unwrap();
    let (until, later) = (terms().valid_until.as_micros().to_be_bytes(), terms().valid_until.plus(3650 * DAY).as_micros().to_be_bytes());
    let found = bytes.windows(8).position(|window| window == until).unwrap();
    bytes[found..found + 8].copy_from_slice(&later);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(at(late), Err(Refused::Altered(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_end_a_backup_is_none() {
    let ((_first, first), files) = (folder(), tempfile::tempdir().unwrap());
    // Of more than one chunk.
    filled(&first, 1000).await;
    let path = files.path().join("backup");
    let mut unfinished = write(&first, keyring(key(1)).ring(), terms(), &SystemRandom, File::create(&path).unwrap()).await.unwrap();
    unfinished.out().sync_all().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 64 * 1024);
    assert!(matches!(opened(&path, 1), Err(Refused::Altered(_))));
    unfinished.finish().unwrap();
    assert!(opened(&path, 1).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backup_is_made_of_a_vault_that_two_keys_open() {
    let ((_first, first), files) = (folder(), tempfile::tempdir().unwrap());
    let vault = filled(&first, 2).await;
    let before = vault.rotation().await.unwrap();
    let wrapping = Rotation { from: key(1).fingerprint(), to: key(2).fingerprint(), stage: Stage::Wrapping };
    assert!(vault.set_rotation(before.as_ref(), &wrapping).await.unwrap());
    for digit in [1, 2] {
        let file = File::create(files.path().join("backup")).unwrap();
        let refused = write(&first, keyring(key(digit)).ring(), terms(), &SystemRandom, file).await;
        assert!(matches!(refused, Err(BackupError::Rotating)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_destroyed_or_taken_away_since_stays_so() {
    let ((_first, first), (_second, second), files) = (folder(), folder(), tempfile::tempdir().unwrap());
    let vault = filled(&first, 3).await;
    let (ledger, audit) = (memory(LogName::LEDGER), memory(LogName::AUDIT));
    let issuer = vault.issuers().await.unwrap()[0].id;
    let keys = vault.keys().await.unwrap();
    let (revoked, kept) = keys.iter().partition::<Vec<_>, _>(|key| key.revoked_at.is_some());
    let account = Uuid::from_u128(1);
    let (path, _) = backed_up(&first, &files).await;

    let ids: Vec<Uuid> = vault.find_subjects(None, Some(&[refs(0).email])).await.unwrap().into_iter().map(|(id, _)| id).collect();
    let erased = SubjectErased { keys: vec![format!("subject/{}", ids[0])], order: Uuid::nil(), issuer, credentials: 1 };
    append(&ledger, Stream::subject(ids[0]), &erased).await;
    vault.month_key("2026-12").await.unwrap();
    append(&audit, Stream::new(category::RETENTION, account), &AuditDetailsShredded { months: vec!["2026-11".to_owned()] }).await;
    append(&audit, Stream::new(category::KEY, kept[0].id), &KeyReplaced { expires_at: noon().plus(DAY), replaced_by: account }).await;
    append(&audit, Stream::new(category::KEY, kept[0].id), &KeyRevoked {}).await;
    append(&audit, Stream::new(category::ACCOUNT, account), &RolesChanged { roles: "auditor".to_owned() }).await;
    append(&audit, Stream::new(category::ACCOUNT, account), &AccountDeactivated {}).await;
    append(&audit, Stream::new(category::ACCOUNT, account), &PasswordChanged {}).await;
    append(&audit, Stream::new(category::ACCOUNT, account), &ProfileChanged {}).await;
    append(&audit, Stream::new(category::ACCOUNT, account), &ProfileChanged {}).await;
    let changed = IssuerChanged { url: None, is_active: false, display_name: Some("Other".to_owned()) };
    append(&audit, Stream::issuer(issuer), &changed).await;
    // What does not matter is passed over.
    append(&audit, Stream::new(category::SESSION, account), &SessionEnded { cause: EndedBy::Logout, account }).await;
    append(&audit, Stream::new(category::KEY, account), &MasterKeyRotated { to: String::new(), from: String::new() }).await;

    let backup = opened(&path, 1).unwrap();
    let header = backup.header().clone();
    let since = Arc::new(Since::read(&ledger, &audit, &header).await.unwrap());
    assert_eq!((since.passwords(), since.profiles(), since.is_erased(ids[0])), (1, 1, true));
    let restored = backup.restore(&second, &since).await.unwrap();
    assert_eq!((restored.erased, restored.months, restored.changed), (1, 1, 3));

    let again = open_with(&second, keyring(key(1))).await;
    assert!(again.find_subjects(None, Some(&[refs(0).email])).await.unwrap().is_empty());
    assert_eq!(again.find_subjects(None, Some(&[refs(1).email])).await.unwrap().len(), 1);
    assert!(again.month_key("2026-11").await.is_err(), "it never gets another");
    let key = again.key(kept[0].id).await.unwrap().unwrap();
    assert_eq!((key.revoked_at, key.terms.expires_at), (Some(noon()), Some(noon().plus(DAY))));
    assert_eq!(again.key(revoked[0].id).await.unwrap().unwrap().revoked_at, revoked[0].revoked_at);
    let account = again.account(account).await.unwrap().unwrap();
    assert_eq!((account.roles, account.deactivated_at), (Role::Auditor.into(), Some(noon())));
    let organisation = again.organisation(issuer).await.unwrap().unwrap();
    assert_eq!((organisation.deactivated_at, organisation.display_name), (Some(noon()), Some("Other".to_owned())));

    // What was issued since, of somebody who is not in the backup.
    let stranger = Uuid::from_u128(99);
    for (n, subject) in
        [stranger, stranger, ids[0], again.find_subjects(None, Some(&[refs(1).email])).await.unwrap()[0].0].iter().enumerate()
    {
        let issued = CredentialIssued {
            credential_type: "badge".to_owned(),
            digest: ByteArray::new([u8::try_from(n).unwrap(); 32]),
            issuer,
            document: None,
            subject_id: Some(*subject),
            valid_from: None,
            valid_until: None,
        };
        append(&ledger, Stream::credential(Uuid::from_u128(100 + n as u128)), &issued).await;
    }
    append(&ledger, Stream::credential(Uuid::from_u128(100)), &CredentialRevoked { reason: None }).await;
    let expected = Lost { credentials: 2, subjects: 1, unrevoked: vec![Uuid::from_u128(101)] };
    assert_eq!(lost(&ledger, &*again, &header, &since).await.unwrap(), expected);
}

/// As `filled` makes them.
fn refs(n: u64) -> SubjectRefs {
    let hash = |what: &str| blake3::hash(format!("{what} {n}").as_bytes()).into();
    SubjectRefs { issuer: Uuid::from_u128(7), name: hash("name"), email: hash("email") }
}

//! What was destroyed or taken away since a backup was made, by what the logs tell: a restoration must not bring it back.
//!
//! Erased subjects and shredded months are left out, and so is every session: people log in again. Keys, accounts and organisations that
//! were revoked, deactivated or given other roles, ends or names are as they were changed. What the logs do not hold cannot be told: a
//! password or a profile that was changed is the older one again, which is counted.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Header, Restored};
use crate::event::audit::{AuditDetailsShredded, AuditEvent, IssuerChanged};
use crate::event::credential::{CredentialIssued, CredentialRevoked};
use crate::event::subject::SubjectErased;
use crate::event::{DecodeError, Recorded};
use crate::log::{Log, Query, Walk};
use crate::sealing::KeyId;
use crate::store::Error;
use crate::vault::Vault;
use crate::vault::copy::{Rows, Value};
use crate::{Position, Timestamp};

const PAGE: usize = 1000;

/// What a restoration leaves out, and what it sets.
#[derive(Debug, Default)]
pub struct Since {
    erased: HashSet<Uuid>,
    months: HashSet<String>,
    revoked: HashMap<Uuid, Timestamp>,
    expires: HashMap<Uuid, Timestamp>,
    /// When accounts and organisations were deactivated; `None` if they are active again.
    deactivated: HashMap<Uuid, Option<Timestamp>>,
    roles: HashMap<Uuid, String>,
    issuers: HashMap<Uuid, IssuerChanged>,
    passwords: HashSet<Uuid>,
    profiles: HashSet<Uuid>,
}

/// What was issued since, under keys that are in no backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many credentials cannot be opened any more.
    pub credentials: u64,
    /// Of how many subjects.
    pub subjects: u64,
    /// Those of the credentials that are not revoked, in the order in which they were issued.
    pub unrevoked: Vec<Uuid>,
}

impl Since {
    /// By both logs of the vault that was backed up.
    ///
    /// # Errors
    /// A log cannot be read, or holds what this program does not understand.
    pub async fn read(ledger: &dyn Log, audit: &dyn Log, header: &Header) -> Result<Since, Error> {
        let mut since = Since::default();
        // From the beginning: who was erased just before the backup was made may have been in the vault still.
        each(ledger, all_from(0).of::<SubjectErased>(), |event| {
            let erased: SubjectErased = event.payload()?;
            since.erased.insert(event.stream.id());
            since
                .erased
                .extend(erased.keys.iter().filter_map(|key| if let Ok(KeyId::Subject(id)) = key.parse() { Some(id) } else { None }));
            Ok(())
        })
        .await?;
        each(audit, all_from(0).of::<AuditDetailsShredded>(), |event| {
            since.months.extend(event.payload::<AuditDetailsShredded>()?.months);
            Ok(())
        })
        .await?;
        each(audit, all_from(header.audit), |event| since.note(event)).await?;
        Ok(since)
    }

    fn note(&mut self, event: &Recorded) -> Result<(), DecodeError> {
        let (id, at) = (event.stream.id(), event.recorded_at);
        match AuditEvent::decode(event)? {
            AuditEvent::KeyRevoked(_) => drop(self.revoked.insert(id, at)),
            AuditEvent::KeyReplaced(replaced) => drop(self.expires.insert(id, replaced.expires_at)),
            AuditEvent::AccountDeactivated(_) => drop(self.deactivated.insert(id, Some(at))),
            AuditEvent::AccountActivated(_) => drop(self.deactivated.insert(id, None)),
            AuditEvent::RolesChanged(changed) => drop(self.roles.insert(id, changed.roles)),
            AuditEvent::PasswordChanged(_) => drop(self.passwords.insert(id)),
            AuditEvent::ProfileChanged(_) => drop(self.profiles.insert(id)),
            AuditEvent::IssuerChanged(changed) => {
                self.deactivated.insert(id, (!changed.is_active).then_some(at));
                self.issuers.insert(id, changed);
            }
            _ => {}
        }
        Ok(())
    }

    /// How many accounts have been given another password since.
    #[must_use]
    pub fn passwords(&self) -> usize {
        self.passwords.len()
    }

    /// How many accounts have told something else of their owners since: another username, address or name.
    #[must_use]
    pub fn profiles(&self) -> usize {
        self.profiles.len()
    }

    /// Whether a subject has been erased.
    #[must_use]
    pub fn is_erased(&self, subject: Uuid) -> bool {
        self.erased.contains(&subject)
    }

    /// Makes rows of the backup those that are restored.
    pub(super) fn apply(&self, rows: &mut Rows, restored: &mut Restored) {
        let table = rows.table;
        match table.name {
            "subjects" => restored.erased += leave_out(rows, |key| id(key).is_some_and(|id| self.erased.contains(&id))),
            "month_keys" => restored.months += self.empty_months(rows),
            "sessions" | "refresh_tokens" => rows.rows.clear(),
            "api_keys" | "accounts" | "issuers" => {
                for row in &mut rows.rows {
                    let before = row.clone();
                    let mut set = |name: &str, value: Value| {
                        let at = table.columns.iter().position(|(column, _)| *column == name);
                        if let Some(cell) = at.and_then(|at| row.get_mut(at)) {
                            *cell = value;
                        }
                    };
                    if let Some(id) = before.first().and_then(id) {
                        self.set(id, &mut set);
                    }
                    restored.changed += u64::from(*row != before);
                }
            }
            _ => {}
        }
    }

    /// A month's row stays, without a key, so that it never gets another. Answers how many had one.
    fn empty_months(&self, rows: &mut Rows) -> u64 {
        let mut emptied = 0;
        for row in &mut rows.rows {
            if let [Value::Text(month), key] = &mut row[..]
                && self.months.contains(month)
            {
                emptied += u64::from(*key != Value::Bytes(Vec::new()));
                *key = Value::Bytes(Vec::new());
            }
        }
        emptied
    }

    /// Ids are of one thing each, whatever it is.
    fn set(&self, id: Uuid, set: &mut impl FnMut(&str, Value)) {
        if let Some(at) = self.revoked.get(&id) {
            set("revoked_at", Value::from(*at));
        }
        if let Some(at) = self.expires.get(&id) {
            set("expires_at", Value::from(*at));
        }
        if let Some(at) = self.deactivated.get(&id) {
            set("deactivated_at", at.map_or(Value::Null, Value::from));
        }
        if let Some(roles) = self.roles.get(&id) {
            set("roles", Value::Text(roles.clone()));
        }
        if let Some(IssuerChanged { url, display_name, .. }) = self.issuers.get(&id) {
            let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
            set("url", text(url));
            set("display_name", text(display_name));
        }
    }
}

/// Credentials that were issued after a backup was made and whose subjects, not erased, are not in the vault that was restored from it.
///
/// # Errors
/// The log or the vault cannot be read.
pub async fn lost(ledger: &dyn Log, vault: &dyn Vault, header: &Header, since: &Since) -> Result<Lost, Error> {
    let (mut lost, mut subjects, mut revoked) = (Lost::default(), HashSet::new(), HashSet::new());
    each(ledger, all_from(header.ledger).of::<CredentialRevoked>(), |event| {
        revoked.insert(event.stream.id());
        Ok(())
    })
    .await?;
    let mut issuances = Walk::over(ledger, all_from(header.ledger).of::<CredentialIssued>());
    while let Some(events) = issuances.page().await? {
        let mut issued = Vec::with_capacity(events.len());
        for event in &events {
            let subject = event.payload::<CredentialIssued>().map_err(not_understood)?.subject_id;
            issued.extend(subject.filter(|id| !since.is_erased(*id)).map(|subject| (event.stream.id(), subject)));
        }
        let asked: Vec<Uuid> = issued.iter().map(|(_, subject)| *subject).collect();
        // In the order asked for.
        for ((credential, subject), known) in issued.into_iter().zip(vault.subject_refs(&asked).await?) {
            if known.is_none() {
                lost.credentials += 1;
                subjects.insert(subject);
                lost.unrevoked.extend(Some(credential).filter(|id| !revoked.contains(id)));
            }
        }
    }
    lost.subjects = subjects.len() as u64;
    Ok(lost)
}

fn all_from(position: u64) -> Query {
    Query::from(Position(position), PAGE)
}

async fn each(log: &dyn Log, query: Query, mut take: impl FnMut(&Recorded) -> Result<(), DecodeError>) -> Result<(), Error> {
    let mut walk = Walk::over(log, query);
    while let Some(events) = walk.page().await? {
        events.iter().try_for_each(&mut take).map_err(not_understood)?;
    }
    Ok(())
}

fn not_understood(failed: DecodeError) -> Error {
    Error::Failed(failed.into())
}

/// Takes out the rows whose first column says so, and answers how many.
fn leave_out(rows: &mut Rows, is_gone: impl Fn(&Value) -> bool) -> u64 {
    let before = rows.rows.len();
    rows.rows.retain(|row| !row.first().is_some_and(&is_gone));
    (before - rows.rows.len()) as u64
}

fn id(value: &Value) -> Option<Uuid> {
    if let Value::Bytes(bytes) = value { Uuid::from_slice(bytes).ok() } else { None }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Value {
        Value::Number(time.as_micros_i64())
    }
}

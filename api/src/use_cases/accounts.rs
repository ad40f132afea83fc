//! Accounts: registered, told, changed, deactivated.
//!
//! What gives somebody a right is recorded before it holds; what takes one away holds at once and is recorded then, so that a right that
//! should be gone never waits for the audit log.

use std::time::Duration;

use credence_ledger::Stream;
use credence_ledger::event::audit::{
    AccountActivated, AccountDeactivated, AccountRegistered, PasswordChanged, ProfileChanged, RolesChanged,
};
use credence_ledger::event::{Payload, new_id};
use credence_ledger::log::Expected;
use credence_ledger::stream::category;
use credence_ledger::vault::accounts::{Change, NewAccount, Profile};
use credence_ledger::vault::{Account, Role, Roles};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Error, audit, issuers, sessions};
use crate::caller::{Caller, Principal};
use crate::services::Services;
use crate::stores::DEFAULT_ISSUER;

/// An account that could not be recorded is in nobody's way any longer after this.
const UNRECORDED_MAX: Duration = Duration::from_secs(60);
/// How often something is decided anew because it was changed meanwhile.
const TRIES_MAX: usize = 5;
/// What an administrator may give and take: whatever belongs to an organisation.
const OF_ORGANISATIONS: Roles = Roles::of(&[Role::Member, Role::Issuer, Role::Auditor, Role::Billing, Role::Admin]);

/// Who wants an account.
#[derive(Debug)]
pub struct RegisterAccount {
    /// What it tells of its owner.
    pub profile: Profile,
    /// What it is opened with.
    pub password: Zeroizing<String>,
    /// The organisation it shall belong to, by name; absent: the caller's.
    pub issuer: Option<String>,
}

/// Makes an account of a member.
///
/// # Errors
/// [`Error::AccountExists`]; [`Error::Forbidden`] to name another organisation; the audit log or the vault fails.
pub async fn register(services: &Services, caller: &Caller, command: &RegisterAccount) -> Result<Account, Error> {
    let issuer = organisation(services, caller.principal.as_ref(), command.issuer.as_deref()).await?;
    let now = services.clock.now();
    let account = Account {
        id: new_id(&services.clock, &services.random),
        issuer,
        roles: Role::Member.into(),
        profile: command.profile.clone(),
        created_at: now,
        deactivated_at: None,
    };
    let new = NewAccount {
        username: sessions::reference(services, &account.profile.username),
        email: services.vault.lookup().account(&account.profile.email),
        password: services.passwords.hash(&command.password).await?,
        account,
    };
    if !services.vault.insert_account(&new, now.minus(UNRECORDED_MAX)).await? {
        return Err(Error::AccountExists);
    }
    let account = new.account;
    let registered = AccountRegistered { roles: account.roles.to_string(), issuer };
    if let Err(unrecorded) = record(services, caller, account.id, Expected::None, &registered).await {
        // So that whoever tries again is not told that another has the name. Where this fails, too, it makes way in a minute.
        let _ = services.vault.withdraw_account(account.id).await;
        return Err(unrecorded);
    }
    let is_confirmed = services.vault.confirm_account(account.id).await?;
    // The record took so long that it has made way.
    if is_confirmed { Ok(account) } else { Err(Error::Contended) }
}

/// The organisation that an account is made in.
async fn organisation(services: &Services, principal: Option<&Principal>, name: Option<&str>) -> Result<Uuid, Error> {
    const OTHERS: &str = "only an operator names another organisation";
    match (principal, name) {
        (Some(principal), name) => {
            unlimited(principal)?;
            issuers::named(services, principal, name, OTHERS).await
        }
        (None, Some(_)) => Err(Error::Forbidden(OTHERS)),
        (None, None) => Ok(services.issuers.by_name(DEFAULT_ISSUER).await?.ok_or_else(|| Error::corrupt("there is no default issuer"))?.id),
    }
}

/// An account that the caller may know of.
///
/// # Errors
/// [`Error::NotFound`]; the vault fails.
pub async fn read(services: &Services, principal: &Principal, id: Uuid) -> Result<Account, Error> {
    let account = services.vault.account(id).await?;
    account.filter(|account| principal.may_know_of(account.issuer)).ok_or(Error::NotFound)
}

/// The same, for its profile to be told: which is on record first, unless it is the caller's own.
///
/// # Errors
/// [`Error::NotFound`]; the audit log or the vault fails.
pub async fn tell(services: &Services, caller: &Caller, principal: &Principal, id: Uuid) -> Result<Account, Error> {
    let account = read(services, principal, id).await?;
    if !is_own(principal, &account) {
        audit::personal_data_read(services, caller, Some(&Stream::new(category::ACCOUNT, id))).await?;
    }
    Ok(account)
}

/// Accounts that the caller may know of, newest first, from those made before `before` on, for their profiles to be told: which is on
/// record first, once for all of them, unless there is none but the caller's own.
///
/// # Errors
/// The audit log or the vault fails.
pub async fn list(
    services: &Services,
    caller: &Caller,
    principal: &Principal,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Account>, Error> {
    let issuer = (!principal.sees_everything()).then_some(principal.issuer);
    let found = services.vault.accounts(issuer, before, limit).await?;
    if !found.iter().all(|account| is_own(principal, account)) {
        audit::personal_data_read(services, caller, None).await?;
    }
    Ok(found)
}

fn is_own(principal: &Principal, account: &Account) -> bool {
    principal.session().is_some_and(|(own, _)| own == account.id)
}

/// What of an account's profile changes: what is not given stays, a name that is `None` goes.
#[derive(Debug, Default)]
pub struct ChangeProfile {
    /// A new address.
    pub email: Option<String>,
    /// A new given name, or none.
    pub first_name: Option<Option<String>>,
    /// A new family name, or none.
    pub last_name: Option<Option<String>>,
}

impl ChangeProfile {
    /// What it makes of a profile.
    fn of(&self, profile: &Profile) -> Profile {
        Profile {
            email: self.email.clone().unwrap_or_else(|| profile.email.clone()),
            first_name: self.first_name.clone().unwrap_or_else(|| profile.first_name.clone()),
            last_name: self.last_name.clone().unwrap_or_else(|| profile.last_name.clone()),
            ..profile.clone()
        }
    }
}

/// Changes what an account tells of its owner, who asks.
///
/// # Errors
/// [`Error::AccountExists`] when the address is another's; the audit log or the vault fails.
pub async fn change_profile(services: &Services, caller: &Caller, id: Uuid, change: &ChangeProfile) -> Result<Account, Error> {
    let mut is_recorded = false;
    for _ in 0..TRIES_MAX {
        let account = services.vault.account(id).await?.ok_or(Error::NotFound)?;
        let changed = change.of(&account.profile);
        let email = services.vault.lookup().account(&changed.email);
        if services.vault.find_login(email).await?.is_some_and(|login| login.account.id != id) {
            return Err(Error::AccountExists);
        }
        if !is_recorded {
            record(services, caller, id, Expected::Any, &ProfileChanged {}).await?;
            is_recorded = true;
        }
        match services.vault.set_profile(id, &account.profile, &changed, email).await? {
            Change::Done => return Ok(Account { profile: changed, ..account }),
            Change::Taken => return Err(Error::AccountExists),
            Change::Missing => return Err(Error::NotFound),
            // Another change was quicker: this one is made of what that has left.
            Change::Stale => {}
        }
    }
    Err(Error::Contended)
}

/// Changes the password of an account whose owner asks in `session`; every other session ends.
///
/// # Errors
/// [`Error::WrongPassword`]; too many wrong ones; [`Error::BadCredentials`] when the session is over meanwhile; the audit log or the vault
/// fails.
pub async fn change_password(
    services: &Services,
    caller: &Caller,
    (id, session): (Uuid, Uuid),
    current: &str,
    new: &str,
) -> Result<(), Error> {
    // Counted apart from logins: whoever is let in already is not kept from it by others who try the name.
    let bucket = services.vault.lookup().account(&session.to_string());
    let hashed = services.passwords.hash(new).await?;
    for _ in 0..TRIES_MAX {
        let login = services.vault.login_of(id).await?.ok_or(Error::NotFound)?;
        let identifier = sessions::reference(services, &login.account.profile.username);
        if sessions::check(services, caller, (identifier, bucket), Some(&login), current).await?.is_none() {
            return Err(Error::WrongPassword);
        }
        let now = services.clock.now();
        // It ends sessions, and gives nobody anything that its owner had not.
        if services.vault.set_password(id, &login.stored, &hashed, Some(session), now).await? {
            return record(services, caller, id, Expected::Any, &PasswordChanged {}).await.map_err(Error::after_the_fact);
        }
        if !services.vault.session(session).await?.is_some_and(|session| session.is_live(now)) {
            return Err(Error::BadCredentials);
        }
        // What was checked is not its password any more, or is wrapped anew: it is looked at again.
    }
    Err(Error::Contended)
}

/// Gives an account other roles.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Forbidden`] when a role, its old ones included, is not the caller's to give; the audit log or the vault
/// fails.
pub async fn set_roles(services: &Services, caller: &Caller, principal: &Principal, id: Uuid, roles: Roles) -> Result<Account, Error> {
    let changed = RolesChanged { roles: roles.to_string() };
    for _ in 0..TRIES_MAX {
        let account = changeable(services, principal, id).await?;
        if !roles.is_within(grantable(principal)) {
            return Err(Error::Forbidden("only an operator makes inspectors and operators"));
        }
        let takes_away = roles.is_within(account.roles);
        if !takes_away {
            record(services, caller, id, Expected::Any, &changed).await?;
        }
        if !services.vault.set_roles(id, account.roles, roles).await? {
            // It has others by now: whether these are the caller's to give and to take is decided by those.
            continue;
        }
        if takes_away {
            record(services, caller, id, Expected::Any, &changed).await.map_err(Error::after_the_fact)?;
        }
        return Ok(Account { roles, ..account });
    }
    Err(Error::Contended)
}

/// Deactivates or activates an account.
///
/// # Errors
/// As [`set_roles`].
pub async fn set_active(services: &Services, caller: &Caller, principal: &Principal, id: Uuid, active: bool) -> Result<Account, Error> {
    changeable(services, principal, id).await?;
    let now = services.clock.now();
    if active {
        record(services, caller, id, Expected::Any, &AccountActivated {}).await?;
        services.vault.set_active(id, true, now).await?;
    } else {
        services.vault.set_active(id, false, now).await?;
        record(services, caller, id, Expected::Any, &AccountDeactivated {}).await.map_err(Error::after_the_fact)?;
    }
    services.vault.account(id).await?.ok_or(Error::NotFound)
}

/// What somebody may give to others.
#[must_use]
pub fn grantable(principal: &Principal) -> Roles {
    if principal.roles.contains(Role::Operator) { Role::ALL.into_iter().collect() } else { OF_ORGANISATIONS }
}

/// An account knows no types of credentials: through one, a key that is limited to some would give more than it has.
fn unlimited(principal: &Principal) -> Result<(), Error> {
    let is_limited = principal.types.is_some();
    if is_limited { Err(Error::Forbidden("a key that is limited to types of credentials administers no accounts")) } else { Ok(()) }
}

/// An account whose roles are all the caller's to give and take.
async fn changeable(services: &Services, principal: &Principal, id: Uuid) -> Result<Account, Error> {
    let account = read(services, principal, id).await?;
    if !principal.acts_for(account.issuer) {
        return Err(Error::Forbidden("it is another organisation's account"));
    }
    unlimited(principal)?;
    let is_above = !account.roles.is_within(grantable(principal));
    if is_above { Err(Error::Forbidden("the account has a role that is not yours to give")) } else { Ok(account) }
}

async fn record<P: Payload>(services: &Services, caller: &Caller, id: Uuid, expected: Expected, payload: &P) -> Result<(), Error> {
    audit::record_on(services, caller, Stream::new(category::ACCOUNT, id), expected, payload).await.map(drop)
}

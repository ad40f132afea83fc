//! How much anybody may ask: what is limited, by whom it is counted, and what is left.
//!
//! | limit | counted by | one is taken |
//! | --- | --- | --- |
//! | public | address | by a request without credentials, or with bad ones |
//! | authenticated | key or account | by a request with good ones |
//! | failed logins | account, and address | when a password is to be checked; given back when it was right |
//!
//! Credentials that were never seen to be good are counted as bad ones until they turn out to be good, and from an address past its limit
//! few of them are looked up at all ([`Limits::doubt`]).
//!
//! A token is taken before the work is done, never after, so that a hundred attempts at once are no more than a hundred in a row. An
//! IPv6 address counts with all others of its /64, which is what one customer gets.
//!
//! [`bucket`] is the arithmetic; [`local`] counts for this process; [`redis`] for all processes that share a server. Where there is one,
//! the process's own count goes first and goes on alone while Redis is away: it is never above the shared one, so it
//! refuses nobody whom the others would not. What is refused by either was not taken from the other.

pub mod bucket;
pub mod local;
pub mod redis;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use credence_ledger::Clock;
use uuid::Uuid;

pub use self::bucket::Quota;
use self::local::Local;
use self::redis::Shared;
use crate::config::RateLimits;

/// See the module.
pub struct Limits {
    public: Option<Quota>,
    authenticated: Option<Quota>,
    login_failures: Option<Quota>,
    clock: Arc<dyn Clock>,
    local: Local,
    shared: Option<Shared>,
}

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Requests without good credentials, from there.
    Address(Network),
    /// Requests with the credentials of this key or account. Ids are never given twice.
    Caller(Uuid),
    /// Failed logins of this account, by a keyed hash of what it is called.
    LoginAccount([u8; 32]),
    /// Failed logins from there.
    LoginAddress(Network),
    /// Credentials from there that are looked up though the address is past its limit. Each process counts them by itself.
    Doubt(Network),
    /// Nobody: Redis is asked whether it would answer.
    Probe,
}

/// An IPv4 address, or the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network([u8; 16]);

impl Network {
    /// Where an address belongs.
    #[must_use]
    pub fn of(address: IpAddr) -> Network {
        Network(match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).octets(),
        })
    }
}

/// One bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Whose.
    pub whose: Whose,
    /// How much it holds.
    pub quota: Quota,
}

/// How a limit stands after one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether there was one to take.
    pub allowed: bool,
    /// How many there are when nothing is taken.
    pub limit: u32,
    /// How many there are left.
    pub remaining: u32,
    /// Whole seconds, rounded up: until all are there again, when allowed; until one is, when not.
    pub reset_s: u64,
}

impl Standing {
    /// Of no bucket at all.
    const UNLIMITED: Standing = Standing { allowed: true, limit: u32::MAX, remaining: u32::MAX, reset_s: 0 };

    fn allowed(quota: Quota, lack_us: u64) -> Standing {
        Standing { allowed: true, limit: quota.count, remaining: quota.remaining(lack_us), reset_s: lack_us.div_ceil(1_000_000) }
    }

    fn refused(quota: Quota, lack_us: u64) -> Standing {
        let wait_us = (lack_us + quota.interval_us).saturating_sub(quota.capacity_us());
        Standing { allowed: false, limit: quota.count, remaining: 0, reset_s: wait_us.div_ceil(1_000_000).max(1) }
    }

    /// The one of which less is left.
    fn tighter(self, other: Standing) -> Standing {
        if other.remaining < self.remaining { other } else { self }
    }
}

/// How many credentials that were never seen to be good are looked up from an address that is past its limit: ten a second. So whoever has
/// good ones is not shut out by whoever has none behind the same address, and the vault is not asked by every one of those.
const DOUBTS: Quota = Quota { count: 10, interval_us: 100_000 };

/// Credentials that may now be looked up. They have been counted as bad ones, and stay counted unless they are
/// [given back](Doubt::give_back).
#[must_use]
pub struct Doubt<'a> {
    limits: &'a Limits,
    taken: Bucket,
    /// How the address's limit stands, if they are bad.
    pub standing: Standing,
}

/// A password that may now be checked. It has been counted as a failure, and stays counted unless it is
/// [given back](LoginAttempt::give_back).
#[must_use]
pub struct LoginAttempt<'a> {
    limits: &'a Limits,
    taken: Vec<Bucket>,
}

impl Limits {
    /// Nothing has been taken yet.
    #[must_use]
    pub fn new(rates: RateLimits, clock: Arc<dyn Clock>, shared: Option<Shared>) -> Limits {
        Limits {
            public: rates.public.map(Quota::from),
            authenticated: rates.authenticated.map(Quota::from),
            login_failures: rates.login_failures.map(Quota::from),
            clock,
            local: Local::default(),
            shared,
        }
    }

    /// One more request without good credentials. `None` where this is not limited. Who has no address is counted with all others that have none.
    pub async fn address(&self, address: Option<IpAddr>) -> Option<Standing> {
        let network = Network::of(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        Some(self.take(&[Bucket { whose: Whose::Address(network), quota: self.public? }]).await)
    }

    /// To be asked before credentials are looked up that were never seen to be good. They count as bad until they are said to be good.
    /// `None` where this is not limited.
    ///
    /// # Errors
    /// The address is past its limit, and enough of such have been looked up: these must not be. Nothing was taken.
    pub async fn doubt(&self, address: Option<IpAddr>) -> Result<Option<Doubt<'_>>, Standing> {
        let network = Network::of(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        let Some(quota) = self.public else { return Ok(None) };
        let public = Bucket { whose: Whose::Address(network), quota };
        let standing = self.take(&[public]).await;
        if standing.allowed {
            return Ok(Some(Doubt { limits: self, taken: public, standing }));
        }
        let doubted = Bucket { whose: Whose::Doubt(network), quota: DOUBTS };
        let may_ask = self.local.take(&[doubted], self.now()).allowed;
        if may_ask { Ok(Some(Doubt { limits: self, taken: doubted, standing })) } else { Err(standing) }
    }

    /// One more request of this key or account. `None` where this is not limited.
    pub async fn caller(&self, id: Uuid) -> Option<Standing> {
        Some(self.take(&[Bucket { whose: Whose::Caller(id), quota: self.authenticated? }]).await)
    }

    /// To be asked before a password is checked, also one of an account that there is not: `account` is a keyed hash of whatever was
    /// given as its name. The attempt counts as failed until it is said to have succeeded, so that attempts at once count as
    /// those in a row do.
    ///
    /// # Errors
    /// Too many have failed lately, of this account or from this address: the password must not be looked at. Nothing was taken.
    pub async fn begin_login(&self, account: [u8; 32], address: Option<IpAddr>) -> Result<LoginAttempt<'_>, Standing> {
        let Some(quota) = self.login_failures else { return Ok(LoginAttempt { limits: self, taken: Vec::new() }) };
        let address = address.map(|address| Whose::LoginAddress(Network::of(address)));
        let taken: Vec<Bucket> = [Whose::LoginAccount(account)].into_iter().chain(address).map(|whose| Bucket { whose, quota }).collect();
        let standing = self.take(&taken).await;
        if standing.allowed { Ok(LoginAttempt { limits: self, taken }) } else { Err(standing) }
    }

    /// Why limits are each process's own at the moment though they should be shared; `None` when all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        let away = self.shared.as_ref().is_some_and(Shared::is_away);
        away.then_some("Redis does not answer: until it does, each process limits by its own count")
    }

    /// Whether other processes are to share them.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Asks whether Redis answers, where there is one.
    pub async fn probe(&self) {
        if let Some(shared) = &self.shared {
            shared.probe().await;
        }
    }

    async fn take(&self, wanted: &[Bucket]) -> Standing {
        let own = self.local.take(wanted, self.now());
        let Some(shared) = self.shared.as_ref().filter(|_| own.allowed) else { return own };
        let Some(all) = shared.take(wanted).await else { return own };
        if !all.allowed {
            self.local.give_back(wanted, self.now());
        }
        all
    }

    fn now(&self) -> u64 {
        self.clock.now().as_micros()
    }
}

impl Doubt<'_> {
    /// They are good, or it could not be found out.
    pub async fn give_back(self) {
        let Doubt { limits, taken, .. } = self;
        limits.local.give_back(&[taken], limits.now());
        if let (Some(shared), Whose::Address(_)) = (&limits.shared, taken.whose) {
            shared.give_back(&[taken]).await;
        }
    }
}

impl LoginAttempt<'_> {
    /// It was not a failure: the password was right, or was not looked at.
    pub async fn give_back(self) {
        self.limits.local.give_back(&self.taken, self.limits.now());
        if let Some(shared) = &self.limits.shared {
            shared.give_back(&self.taken).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_with_its_64_and_an_ipv4_address_alone_however_it_is_written() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("::"));
    }

    #[test]
    fn a_refusal_says_when_one_is_free_again() {
        let quota = Quota { count: 5, interval_us: 180_000_000 };
        assert_eq!(Standing::refused(quota, quota.capacity_us()).reset_s, 180);
        assert_eq!(Standing::refused(quota, quota.capacity_us() - 179_999_999).reset_s, 1);
        assert_eq!(Standing::allowed(quota, 180_000_000), Standing { allowed: true, limit: 5, remaining: 4, reset_s: 180 });
    }
}

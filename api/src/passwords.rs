//! Passwords: how strong they must be, and their Argon2id hashes (RFC 9106).
//!
//! A hash takes memory and time on purpose, so at most one is made a core at once; who has waited too long for a turn is refused, not
//! queued for ever. Whether an account exists does not show in how long its login takes: where there is none, a hash of the same cost is
//! checked, of a password that nobody has.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::config::PasswordCost;

/// How long one waits for a turn.
pub const WAIT_MAX: Duration = Duration::from_secs(2);
/// How many characters a password has.
pub const LENGTH: std::ops::RangeInclusive<usize> = 12..=128;
/// zxcvbn's score of what an attacker who is not slowed down does not find within hours.
const SCORE_MIN: zxcvbn::Score = zxcvbn::Score::Three;

/// Too many others waited, for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Overloaded;

/// What a password was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The one that was hashed.
    Right {
        /// It was hashed at another cost than is configured now.
        is_outdated: bool,
    },
    /// Another.
    Wrong,
}

/// See the module.
pub struct Passwords {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    nobodys: String,
}

impl Passwords {
    /// At a cost.
    #[must_use]
    pub fn new(cost: PasswordCost) -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // The configuration keeps to what Argon2 takes.
        let params = Params::new(cost.memory_kib, cost.iterations, cost.lanes, Some(Params::DEFAULT_OUTPUT_LEN)).unwrap_or_default();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let PasswordCost { memory_kib: m, iterations: t, lanes: p } = cost;
        // Salt and hash are 16 and 32 bytes of zero: no password is known that hashes to that.
        let nobodys = format!("$argon2id$v=19$m={m},t={t},p={p}${}${}", "A".repeat(22), "A".repeat(43));
        Passwords { argon2, turns: Arc::new(Semaphore::new(cores)), nobodys }
    }

    /// A password's hash, in the PHC string format, with a salt of its own.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub async fn hash(&self, password: &str) -> Result<Zeroizing<String>, Overloaded> {
        let (argon2, password) = (self.argon2.clone(), normal(password));
        self.in_turn(move || hash(&argon2, &password)).await
    }

    /// Whether `password` is what was hashed; `None` where there is no account. It takes the same time in either case.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub async fn check(&self, hashed: Option<&str>, password: &str) -> Result<Checked, Overloaded> {
        let (argon2, password) = (self.argon2.clone(), normal(password));
        let exists = hashed.is_some();
        let hashed = Zeroizing::new(hashed.unwrap_or(&self.nobodys).to_owned());
        self.in_turn(move || {
            metrics::counter!("credence_password_checks_total").increment(1);
            let Ok(hash) = PasswordHash::new(&hashed) else { return Checked::Wrong };
            if argon2.verify_password(password.as_bytes(), &hash).is_err() || !exists {
                return Checked::Wrong;
            }
            let is_outdated = Params::try_from(&hash).ok().as_ref() != Some(argon2.params());
            Checked::Right { is_outdated }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Overloaded> {
        let turn = timeout(WAIT_MAX, self.turns.clone().acquire_owned()).await.map_err(|_| Overloaded)?.map_err(|_| Overloaded)?;
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        // Only a runtime that shuts down drops it.
        working.await.map_err(|_| Overloaded)
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Zeroizing<String> {
    // Parameters and salt are sound, and the length is bounded: there is nothing that could fail.
    Zeroizing::new(argon2.hash_password(password.as_bytes()).map(|hash| hash.to_string()).unwrap_or_default())
}

/// What is typed on one keyboard is the same on another (RFC 8265, section 4.2).
fn normal(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

/// Whether a password is taken, by its length and by how easily it is guessed; `known` is what an attacker would try first.
///
/// # Errors
/// The code and the message of the rule that is broken. It repeats nothing of the password.
pub fn judge(password: &str, known: &[&str]) -> Result<(), (&'static str, String)> {
    let length = normal(password).chars().count();
    if length < *LENGTH.start() {
        return Err(("too_short", format!("shorter than {} characters", LENGTH.start())));
    }
    if length > *LENGTH.end() {
        return Err(("too_long", format!("longer than {} characters", LENGTH.end())));
    }
    let found = zxcvbn::zxcvbn(password, known);
    if found.score() >= SCORE_MIN {
        return Ok(());
    }
    let warning = found.feedback().and_then(zxcvbn::feedback::Feedback::warning).map(|warning| format!(": {warning}"));
    Err(("too_weak", format!("is easily guessed{}", warning.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 128, iterations: 1, lanes: 1 };

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_whose_cost_is_told() {
        let passwords = Passwords::new(CHEAP);
        let hashed = passwords.hash("correct horse battery").await.unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=128,t=1,p=1$"), "{}", *hashed);
        assert_ne!(hashed, passwords.hash("correct horse battery").await.unwrap());
        assert_eq!(passwords.check(Some(&hashed), "correct horse battery").await, Ok(Checked::Right { is_outdated: false }));
        assert_eq!(passwords.check(Some(&hashed), "correct horse batterz").await, Ok(Checked::Wrong));
        let dearer = Passwords::new(PasswordCost { iterations: 2, ..CHEAP });
        assert_eq!(dearer.check(Some(&hashed), "correct horse battery").await, Ok(Checked::Right { is_outdated: true }));
    }

    #[tokio::test]
    async fn nobodys_password_is_wrong_and_costs_as_much() {
        let passwords = Passwords::new(CHEAP);
        assert_eq!(passwords.check(None, "nobody's password").await, Ok(Checked::Wrong));
        let nobodys = PasswordHash::new(&passwords.nobodys).unwrap();
        assert_eq!(Params::try_from(&nobodys).unwrap(), *passwords.argon2.params());
        assert_eq!(nobodys.hash.unwrap().len(), 32);
    }

    #[tokio::test]
    async fn one_spelling_is_as_good_as_another() {
        let passwords = Passwords::new(CHEAP);
        let hashed = passwords.hash("caf\u{e9} au lait, please").await.unwrap();
        assert_eq!(passwords.check(Some(&hashed), "cafe\u{301} au lait, please").await, Ok(Checked::Right { is_outdated: false }));
    }

    #[tokio::test]
    async fn who_waits_too_long_for_a_turn_is_refused() {
        let passwords = Passwords::new(CHEAP);
        let _all = passwords.turns.clone().acquire_many_owned(u32::try_from(passwords.turns.available_permits()).unwrap()).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(passwords.check(None, "x").await, Err(Overloaded));
        assert!(began.elapsed() >= WAIT_MAX);
    }

    #[test]
    fn what_is_easily_guessed_is_refused_without_being_repeated() {
        for (password, code) in [
            ("a brief one", "too_short"),
            (&"x".repeat(129), "too_long"),
            ("aaaaaaaaaaaaaaaa", "too_weak"),
            ("password1234", "too_weak"),
            ("adalovelace2", "too_weak"),
        ] {
            let (found, message) = judge(password, &["ada", "lovelace", "adalovelace"]).unwrap_err();
            assert_eq!(found, code, "{password}");
            assert!(!message.contains(password));
        }
        assert_eq!(judge("a winter's bicycle, humming", &["ada"]), Ok(()));
    }
}

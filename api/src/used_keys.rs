//! Which API keys were used, until the vault is told: of each key at most once a minute, in the background.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use credence_ledger::Timestamp;
use credence_ledger::vault::api_key::to_the_minute;
use uuid::Uuid;

/// See the module.
#[derive(Debug, Default)]
pub struct UsedKeys {
    last: Mutex<HashMap<Uuid, Use>>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    minute: Timestamp,
    told: bool,
}

impl UsedKeys {
    /// A key was used.
    pub fn note(&self, key: Uuid, now: Timestamp) {
        let minute = to_the_minute(now);
        let mut last = self.last();
        let known = last.entry(key).or_insert(Use { minute, told: false });
        if known.minute != minute {
            *known = Use { minute, told: false };
        }
    }

    /// What the vault has not been told yet. It counts as told from now on.
    pub fn take(&self) -> Vec<(Uuid, Timestamp)> {
        let mut untold = Vec::new();
        for (key, known) in self.last().iter_mut().filter(|(_, known)| !known.told) {
            known.told = true;
            untold.push((*key, known.minute));
        }
        untold
    }

    fn last(&self) -> MutexGuard<'_, HashMap<Uuid, Use>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vault_is_told_of_a_key_once_a_minute() {
        let (used, key) = (UsedKeys::default(), Uuid::from_u128(1));
        let at = |seconds: u64| Timestamp::from_micros(seconds * 1_000_000);
        used.note(key, at(61));
        used.note(key, at(62));
        assert_eq!(used.take(), [(key, at(60))]);
        used.note(key, at(119));
        assert_eq!(used.take(), []);
        used.note(key, at(120));
        assert_eq!(used.take(), [(key, at(120))]);
    }
}

//! Randomness and ids, as they come in from outside.

use std::sync::Arc;

use uuid::Uuid;

use crate::Timestamp;

/// Where random bytes come from. They must be fit for keys: tests alone may hand in a predictable source.
pub trait Random: Send + Sync + 'static {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[expect(clippy::expect_used, reason = "without randomness no key can be made: nothing may go on")]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for randomness")]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives no randomness");
    }
}

impl<R: Random + ?Sized> Random for Arc<R> {
    fn fill(&self, buffer: &mut [u8]) {
        (**self).fill(buffer);
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>(random: &(impl Random + ?Sized)) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}

/// A UUID of version 7 (RFC 9562, section 5.7): ordered by its time, so that indexes grow at their end.
pub fn uuid_v7(now: Timestamp, random: &(impl Random + ?Sized)) -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &bytes(random)).into_uuid()
}

//! Randomness and ids, as they come in from outside.

use std::cell::RefCell;
use std::sync::Arc;

use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use crate::Timestamp;

/// Where random bytes come from. They must be fit for keys: tests alone may hand in a predictable source.
pub trait Random: Send + Sync + 'static {
    /// Fills `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's generator, asked for many bytes at a time: a request needs a dozen small draws, and each question is a call
/// into the kernel. What was drawn ahead stays in the thread that drew it, is given out once and wiped as it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

/// What is drawn ahead, as much as the kernel gives without being interrupted (getrandom(2)).
const AHEAD: usize = 256;

thread_local! {
    /// Unused bytes stand at the end.
    static DRAWN: RefCell<(usize, Zeroizing<[u8; AHEAD]>)> = RefCell::new((AHEAD, Zeroizing::new([0; AHEAD])));
}

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > AHEAD / 4 {
            return draw(buffer);
        }
        DRAWN.with_borrow_mut(|(used, drawn)| {
            if AHEAD - *used < buffer.len() {
                draw(drawn.as_mut_slice());
                *used = 0;
            }
            let given = &mut drawn[*used..*used + buffer.len()];
            buffer.copy_from_slice(given);
            given.zeroize();
            *used += buffer.len();
        });
    }
}

#[expect(clippy::expect_used, reason = "without randomness no key can be made: nothing may go on")]
#[expect(clippy::disallowed_methods, reason = "the one place that asks the machine for randomness")]
fn draw(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives no randomness");
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_drawn_twice_on_whichever_thread() {
        let draws = || {
            (0..2_000)
                .map(|round| if round % 7 == 0 { bytes::<80>(&SystemRandom)[..16].to_vec() } else { bytes::<16>(&SystemRandom).to_vec() })
        };
        let threads: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let drawing: Vec<_> = (0..4).map(|_| scope.spawn(|| draws().collect::<Vec<_>>())).collect();
            drawing.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: HashSet<&Vec<u8>> = threads.iter().collect();
        assert_eq!(distinct.len(), threads.len());
        assert!(!distinct.contains(&vec![0; 16]), "what was wiped is not given again");
    }
}

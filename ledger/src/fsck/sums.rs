//! Two tellings of the same things in different orders, compared without holding either.
//!
//! What is told is hashed, and the hashes are added up; so order does not count, and how often a thing is told does. Equal sums
//! mean equal tellings: the hash is keyed at random in each run, so that nobody can choose things whose hashes add up to the same.
//!
//! There is a sum for each of [`STRETCHES`] stretches of the log. Where two differ, only that stretch has to be gone through to
//! say what is wrong.

use std::ops::Range;

use crate::log::UniqueKey;
use crate::random::{self, SystemRandom};
use crate::{Position, Stream, Version};

const STRETCHES: u64 = 1024;

/// Makes hashes that nobody can know beforehand.
#[derive(Clone, Copy)]
pub(super) struct Salt(pub(super) [u8; 32]);

/// How a log is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The log's size.
    pub(super) size: u64,
    /// How many positions a stretch has.
    pub(super) length: u64,
}

impl From<u64> for Span {
    /// Of a log of this size.
    fn from(size: u64) -> Span {
        Span { size, length: size.div_ceil(STRETCHES).max(1) }
    }
}

impl Span {
    /// The same stretches, and further ones, of the log when it has grown.
    pub(super) fn grown(self, size: u64) -> Span {
        Span { size, ..self }
    }
}

impl Salt {
    pub(super) fn new() -> Salt {
        Salt(random::bytes(&SystemRandom))
    }

    /// That an event of `stream` has this version and this position.
    pub(super) fn place(&self, stream: &Stream, version: Version, position: Position) -> u128 {
        self.hash(&[&position.0.to_be_bytes(), &version.0.to_be_bytes(), stream.as_str().as_bytes()])
    }

    /// That `stream` owns `key` since the event at this position. No stream's name holds a zero.
    pub(super) fn claim(&self, key: &UniqueKey, stream: &Stream, position: Position) -> u128 {
        self.hash(&[&position.0.to_be_bytes(), stream.as_str().as_bytes(), &[0], &key.0])
    }

    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let hash = blake3::keyed_hash(&self.0, &parts.concat());
        let (half, _) = hash.as_bytes().split_at(16);
        half.iter().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }
}

/// A sum for each stretch of a log.
pub(super) struct Sums {
    span: Span,
    sums: Vec<u128>,
}

impl Sums {
    /// Of nothing yet.
    pub(super) fn new(span: impl Into<Span>) -> Sums {
        Sums::resume(span.into(), Vec::new())
    }

    /// Goes on from the first `sums`.
    pub(super) fn resume(span: Span, mut sums: Vec<u128>) -> Sums {
        sums.resize(usize::try_from(span.size.div_ceil(span.length)).unwrap_or_default(), 0);
        Sums { span, sums }
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    pub(super) fn as_slice(&self) -> &[u128] {
        &self.sums
    }

    /// Adds what concerns `position`, which lies in the log.
    pub(super) fn add(&mut self, position: Position, hash: u128) {
        let sum = self.at(position);
        *sum = sum.wrapping_add(hash);
    }

    /// Takes away what was added for `position`, or will be.
    pub(super) fn subtract(&mut self, position: Position, hash: u128) {
        let sum = self.at(position);
        *sum = sum.wrapping_sub(hash);
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is less than the number of stretches")]
    fn at(&mut self, position: Position) -> &mut u128 {
        &mut self.sums[(position.0 / self.span.length) as usize]
    }

    /// Where they differ from `others` of the same log, in order.
    pub(super) fn differing(&self, others: &Sums) -> Vec<Range<u64>> {
        let stretches = (0u64..).map(|at| at * self.span.length..at.saturating_add(1).saturating_mul(self.span.length));
        let differing = stretches.zip(self.sums.iter().zip(&others.sums)).filter(|(_, (ours, theirs))| ours != theirs);
        differing.map(|(stretch, _)| stretch).collect()
    }
}

/// Whether `position` lies in one of these.
pub(super) fn holds(stretches: &[Range<u64>], position: Position) -> bool {
    let next = stretches.partition_point(|stretch| stretch.end <= position.0);
    stretches.get(next).is_some_and(|stretch| stretch.contains(&position.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::credential(uuid::Uuid::nil())
    }

    #[test]
    fn the_order_does_not_count_and_how_often_does() {
        let salt = Salt::new();
        let place = |position: u64| (Position(position), salt.place(&stream(), Version(position), Position(position)));
        let sums = |positions: &[u64]| {
            let mut sums = Sums::new(5000);
            positions.iter().for_each(|position| sums.add(place(*position).0, place(*position).1));
            sums
        };
        let all = sums(&[0, 7, 4999, 2500]);
        assert_eq!(all.differing(&sums(&[4999, 7, 2500, 0])), []);
        let seventh: &[Range<u64>] = std::slice::from_ref(&(5..10));
        assert_eq!(all.differing(&sums(&[0, 7, 7, 4999, 2500])), seventh);
        assert_eq!(all.differing(&sums(&[0, 6, 4999])), [5..10, 2500..2505,].to_vec());
        let mut less = sums(&[0, 4999, 2500, 8]);
        less.subtract(place(8).0, place(8).1);
        assert_eq!(less.differing(&all), seventh);
        assert_eq!(less.differing(&sums(&[0, 4999, 2500])), []);
    }

    #[test]
    fn every_part_of_what_is_told_counts() {
        let salt = Salt::new();
        let other = Stream::credential(uuid::Uuid::max());
        let places = [(stream(), 1, 2), (other.clone(), 1, 2), (stream(), 2, 2), (stream(), 1, 3)];
        let places = places.map(|(stream, version, position)| salt.place(&stream, Version(version), Position(position)));
        let claims = [("a", stream(), 1), ("b", stream(), 1), ("a", other, 1), ("a", stream(), 2)];
        let claims = claims.map(|(name, stream, position)| salt.claim(&UniqueKey::issuer_name(name), &stream, Position(position)));
        let all: std::collections::HashSet<u128> = places.into_iter().chain(claims).collect();
        assert_eq!(all.len(), 8);
        assert_ne!(Salt::new().place(&stream(), Version(1), Position(2)), places[0]);
    }

    #[test]
    fn every_position_of_a_log_of_any_size_has_its_stretch() {
        for size in [1, 2, 1023, 1024, 1025, 1_000_003, u64::MAX / 2] {
            let (mut sums, none) = (Sums::new(size), Sums::new(size));
            for position in [0, size / 2, size - 1].map(Position) {
                sums.add(position, 1);
                let stretches = sums.differing(&none);
                assert!(stretches.len() == 1 && holds(&stretches, position), "{size}: {stretches:?}");
                sums.subtract(position, 1);
            }
            assert!(sums.sums.len() <= 1024 && !holds(&[3..5, 9..12], Position(5)) && holds(&[3..5, 9..12], Position(11)));
        }
        assert_eq!(Sums::new(0).differing(&Sums::new(0)), []);
    }
}

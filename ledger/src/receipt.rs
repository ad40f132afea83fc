//! Receipts: what somebody keeps to show, offline and without trusting anybody but a key, that an event is in a log.
//!
//! A receipt holds the event's content, its position, the proof that it is in the tree, and a checkpoint of that tree. As a text it
//! is a C2SP tlog-proof, whose extra data is the content. **Permanent.**

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_bytes::ByteBuf;

use crate::checkpoint::{self, Checkpoint, Signers, VerifierKey};
use crate::event::Metadata;
use crate::tree::proof::{PROOF_MAX, check_inclusion};
use crate::tree::{Hash, TreeSize};
use crate::{Position, Stream, Timestamp, Version, chain};

/// How a tlog-proof begins.
pub const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The event's content, which its hash is made of.
    pub content: Vec<u8>,
    /// Its place in the log.
    pub position: Position,
    /// From the leaf's sibling up.
    pub proof: Vec<Hash>,
    /// A checkpoint of a tree that has the leaf.
    pub checkpoint: Checkpoint,
}

/// A receipt that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotHold {
    /// The event is not in the tree at that position.
    #[error("the event is not at position {position} of the tree of {size} events that the checkpoint is of")]
    NotIncluded {
        /// The position.
        position: Position,
        /// The tree's size.
        size: TreeSize,
    },
    /// The checkpoint is not signed as it should be.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
}

/// A text that is no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a tlog-proof whose extra data is an event's content")]
pub struct Malformed;

impl Receipt {
    /// The event's hash.
    #[must_use]
    pub fn event_hash(&self) -> chain::Hash {
        chain::event_hash(&self.content)
    }

    /// Checks that the event is where the receipt says, in the tree that its checkpoint speaks of, whoever signed that.
    ///
    /// # Errors
    /// [`DoesNotHold::NotIncluded`].
    pub fn check(&self) -> Result<(), DoesNotHold> {
        let head = self.checkpoint.head();
        check_inclusion(&self.proof, head.size, head.root, self.position, Hash::leaf(self.event_hash()))
            .map_err(|_| DoesNotHold::NotIncluded { position: self.position, size: head.size })
    }

    /// The same, and that the log's key has signed the checkpoint; answers whose signatures hold.
    ///
    /// # Errors
    /// [`DoesNotHold`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<Signers, DoesNotHold> {
        self.check()?;
        Ok(self.checkpoint.verify(known)?)
    }
}

/// What an event says, read from its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The stream.
    pub stream: Stream,
    /// The event's place in its stream.
    pub version: Version,
    /// The event's type.
    pub kind: String,
    /// The payload's version for that type.
    pub schema: u16,
    /// When it was recorded, by the log's clock.
    pub recorded_at: Timestamp,
    /// Who did it, where and in which request.
    pub metadata: Metadata,
    /// Encoded CBOR map.
    pub payload: Vec<u8>,
}

/// Reads an event's content.
///
/// # Errors
/// [`Malformed`]: it is no event's.
pub fn read(content: &[u8]) -> Result<Fact, Malformed> {
    type Content = (u8, String, u64, String, u16, u64, ByteBuf, ByteBuf);
    let (format, stream, version, kind, schema, recorded_at, metadata, payload): Content =
        crate::codec::decode(content).map_err(|_| Malformed)?;
    if format != crate::codec::CONTENT_FORMAT {
        return Err(Malformed);
    }
    Ok(Fact {
        stream: stream.parse().map_err(|_| Malformed)?,
        version: Version(version),
        kind,
        schema,
        recorded_at: Timestamp::from_micros(recorded_at),
        metadata: crate::codec::decode(&metadata).map_err(|_| Malformed)?,
        payload: payload.into_vec(),
    })
}

/// As a tlog-proof.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nextra {}\nindex {}", BASE64_STANDARD.encode(&self.content), self.position)?;
        for hash in &self.proof {
            writeln!(f, "{hash}")?;
        }
        write!(f, "\n{}", self.checkpoint.note())
    }
}

impl FromStr for Receipt {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Receipt, Malformed> {
        let (proof, note) = text.split_once("\n\n").ok_or(Malformed)?;
        let mut lines = proof.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(Malformed);
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra ")).ok_or(Malformed)?;
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).ok_or(Malformed)?;
        let position: u64 = index.parse().map_err(|_| Malformed)?;
        if position.to_string() != index {
            return Err(Malformed);
        }
        let proof: Vec<Hash> = lines.map(Hash::from_base64).collect::<Option<_>>().ok_or(Malformed)?;
        if proof.len() > PROOF_MAX {
            return Err(Malformed);
        }
        Ok(Receipt {
            content: BASE64_STANDARD.decode(extra).map_err(|_| Malformed)?,
            position: Position(position),
            proof,
            checkpoint: Checkpoint::parse(note).map_err(|_| Malformed)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogName;
    use crate::chain::Origin;
    use crate::checkpoint::{LogKey, TreeHead};
    use crate::tree::growth::Edge;
    use crate::tree::proof::Question;
    use proptest::prelude::*;

    fn key() -> LogKey {
        LogKey::from_seed(Origin::new("ledger.example", &LogName::LEDGER), &[1; 32])
    }

    fn content(at: u64) -> Vec<u8> {
        format!("event {at}").into_bytes()
    }

    fn receipt(position: u64, size: u64) -> Receipt {
        let events: Vec<chain::Hash> = (0..size).map(|at| chain::event_hash(&content(at))).collect();
        let tiles = Edge::empty().grow(&events);
        let answer = |question: Question| question.answer(&tiles).unwrap();
        let (size, position) = (TreeSize(size), Position(position));
        let head = TreeHead { origin: Origin::new("ledger.example", &LogName::LEDGER), size, root: answer(Question::Root(size))[0] };
        Receipt {
            content: content(position.0),
            position,
            proof: answer(Question::Inclusion(position, size)),
            checkpoint: Checkpoint::sign(head, &key()),
        }
    }

    #[test]
    fn a_receipt_holds_for_its_event_its_place_and_its_key() {
        let receipt = receipt(5, 700);
        assert!(receipt.verify(&[key().verifier()]).is_ok());
        assert_eq!(receipt.verify(&[]), Err(checkpoint::Error::UnknownSigner.into()));
        let not_included = |receipt: Receipt| {
            receipt.verify(&[key().verifier()]) == Err(DoesNotHold::NotIncluded { position: receipt.position, size: TreeSize(700) })
        };
        assert!(not_included(Receipt { content: content(6), ..receipt.clone() }));
        assert!(not_included(Receipt { position: Position(6), ..receipt.clone() }));
        assert!(not_included(Receipt { proof: receipt.proof[1..].to_vec(), ..receipt.clone() }));
    }

    #[test]
    fn a_receipt_reads_as_a_tlog_proof() {
        let receipt = receipt(0, 1);
        let text = receipt.to_string();
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra ZXZlbnQgMA==\nindex 0\n\nledger.example/v1/logs/ledger\n1\n"), "{text}");
        assert_eq!(text.parse(), Ok(receipt));
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let good = receipt(2, 5).to_string();
        for (from, to) in [
            ("@v1", "@v2"),
            ("extra ", "other "),
            ("extra ZXZlbnQgMg==\n", ""),
            ("index 2", "index 02"),
            ("index 2", "index +2"),
            ("index 2", "index 18446744073709551616"),
            ("index 2\n", "index 2\nAAAA\n"),
            ("\n\n", "\n"),
            ("—", "-"),
        ] {
            assert_eq!(good.replacen(from, to, 1).parse::<Receipt>(), Err(Malformed), "{from:?} as {to:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bit_of_a_receipt_counts(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = receipt(3, 9).to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let read = String::from_utf8(bytes).ok().and_then(|text| text.parse::<Receipt>().ok());
            prop_assert!(read.is_none_or(|read| read.verify(&[key().verifier()]).is_err()));
        }
    }
}

//! Proofs and receipts, as they are answered. Hashes are in hex, like all byte strings; in notes and tlog-proofs they are in base64,
//! as those formats have them.

use credence_ledger::LogName;
use credence_ledger::receipt::Receipt;
use credence_ledger::tree::{Hash, TreeSize};
use serde::Serialize;
use utoipa::ToSchema;

use crate::proofs::Proof;

/// What to keep in order to show, offline, that an event is in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptBody {
    /// The event's position.
    #[schema(example = "ledger@42")]
    pub position: String,
    /// The event's hash: BLAKE3 of `content`.
    pub event_hash: String,
    /// The event's content, CBOR, in hex.
    pub content: String,
    /// From the leaf's sibling up (RFC 6962, section 2.1.1); the leaf's entry is `event_hash`.
    pub inclusion_proof: Vec<String>,
    /// The signed note that speaks of the tree (C2SP tlog-checkpoint).
    pub checkpoint: String,
    /// All of it as one text (C2SP tlog-proof), the content as its extra data.
    pub tlog_proof: String,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> ReceiptBody {
        ReceiptBody {
            position: LogName::LEDGER.at(receipt.position).to_string(),
            event_hash: receipt.event_hash().to_string(),
            content: hex::encode(&receipt.content),
            inclusion_proof: in_hex(&receipt.proof),
            checkpoint: receipt.checkpoint.note().to_owned(),
            tlog_proof: receipt.to_string(),
        }
    }
}

/// That an event is in the tree that a checkpoint speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Proof)]
pub struct ProofBody {
    /// The event's position.
    #[schema(example = "ledger@42")]
    pub position: String,
    /// The event's hash, which is the leaf's entry.
    pub event_hash: String,
    /// From the leaf's sibling up (RFC 6962, section 2.1.1).
    pub inclusion_proof: Vec<String>,
    /// The signed note that speaks of the tree (C2SP tlog-checkpoint).
    pub checkpoint: String,
}

impl From<&Proof> for ProofBody {
    fn from(proof: &Proof) -> ProofBody {
        ProofBody {
            position: LogName::LEDGER.at(proof.position).to_string(),
            event_hash: proof.event_hash.to_string(),
            inclusion_proof: in_hex(&proof.hashes),
            checkpoint: proof.checkpoint.clone(),
        }
    }
}

/// That an event is in a tree of some size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InclusionProof {
    /// The event's position.
    #[schema(example = "ledger@42")]
    pub position: String,
    /// The event's hash, which is the leaf's entry.
    pub event_hash: String,
    /// How many leaves the tree has.
    pub size: u64,
    /// The tree's root.
    pub root: String,
    /// From the leaf's sibling up (RFC 6962, section 2.1.1).
    pub proof: Vec<String>,
}

/// That a tree begins with a smaller one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConsistencyProof {
    /// How many leaves the smaller tree has.
    pub from: u64,
    /// Its root.
    pub from_root: String,
    /// How many leaves the larger tree has.
    pub to: u64,
    /// Its root.
    pub to_root: String,
    /// As in RFC 6962, section 2.1.2.
    pub proof: Vec<String>,
}

impl ConsistencyProof {
    /// Between two trees with these roots.
    #[must_use]
    pub fn new((from, from_root): (TreeSize, Hash), (to, to_root): (TreeSize, Hash), proof: &[Hash]) -> ConsistencyProof {
        let root = |root: Hash| hex::encode(root.0);
        ConsistencyProof { from: from.0, from_root: root(from_root), to: to.0, to_root: root(to_root), proof: in_hex(proof) }
    }
}

/// Hashes in hex, in their order.
#[must_use]
pub fn in_hex(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| hex::encode(hash.0)).collect()
}

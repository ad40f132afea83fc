//! Checkpoints: signed statements of how a log's tree stood (C2SP tlog-checkpoint, signed-note, tlog-cosignature). **Permanent.**
//!
//! A checkpoint's text is the log's origin, the tree's size and its root, a line each. The log signs it with an Ed25519 key that is
//! named as its origin; witnesses add cosignatures, which also say when. Who reads one trusts it for the keys that it knows:
//! signatures of others are passed over, and one that does not hold of a key that it knows spoils the whole.
//!
//! Notes are taken apart and put together by `signed_note`. Its own keys are another release of `ed25519-dalek`'s and know no
//! witnesses, so keys are ours, behind its traits.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, Verifier, VerifierList};

use crate::chain::Origin;
use crate::tree::{Hash, TreeSize};

/// The types of signature: how a key signs a text.
const ED25519: u8 = 1;
const COSIGNATURE_V1: u8 = 4;
/// A cosignature's time stands before it.
const TIME_LENGTH: usize = 8;

/// How a log's tree stood: what a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    /// Which log.
    pub origin: Origin,
    /// How many leaves there were.
    pub size: TreeSize,
    /// The tree's root.
    pub root: Hash,
}

/// A text that is no checkpoint, or that no known key has signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no signed note, or its text no checkpoint's.
    #[error("this is no checkpoint")]
    Malformed,
    /// No key that is known has signed it.
    #[error("no known key has signed the checkpoint")]
    UnknownSigner,
    /// A signature of a key that is known does not hold.
    #[error("the signature of {0} does not hold")]
    BadSignature(String),
}

impl fmt::Display for TreeHead {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin.as_str(), self.size, self.root)
    }
}

impl FromStr for TreeHead {
    type Err = Error;

    /// Lines after the third, which the specification allows others, are passed over.
    fn from_str(text: &str) -> Result<TreeHead, Error> {
        let read = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).map_err(|_| Error::Malformed)?;
        let size = TreeSize(read.size());
        if size > TreeSize::MAX {
            return Err(Error::Malformed);
        }
        Ok(TreeHead { origin: Origin::from_stored(read.origin().to_owned()), size, root: (*read.hash()).into() })
    }
}

/// A checkpoint: a tree head in a note, with signatures that may or may not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    head: TreeHead,
    note: String,
}

/// What known keys say of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signers {
    /// Logs' keys that signed it.
    pub logs: Vec<VerifierKey>,
    /// Witnesses' keys that cosigned it, each with the time that it gives, in seconds since the epoch.
    pub witnesses: Vec<(VerifierKey, u64)>,
}

impl Checkpoint {
    /// Signs a tree head.
    #[must_use]
    pub fn sign(head: TreeHead, key: &LogKey) -> Checkpoint {
        let text = head.to_string();
        let signature = key.note_signature(&text);
        Checkpoint { note: format!("{text}\n{signature}"), head }
    }

    /// Takes a note apart, without looking at its signatures.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(note: &str) -> Result<Checkpoint, Error> {
        let read = Note::from_bytes(note.as_bytes()).map_err(|_| Error::Malformed)?;
        let text = std::str::from_utf8(read.text()).map_err(|_| Error::Malformed)?;
        Ok(Checkpoint { head: text.parse()?, note: note.to_owned() })
    }

    /// What it says.
    #[must_use]
    pub fn head(&self) -> &TreeHead {
        &self.head
    }

    /// The whole note, which is what is published.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Who of these has signed it. A log's key counts for its own log only.
    ///
    /// # Errors
    /// [`Error::UnknownSigner`] when no log's key has; [`Error::BadSignature`].
    pub fn verify(&self, known: &[VerifierKey]) -> Result<Signers, Error> {
        let mut keys: Vec<&VerifierKey> = Vec::new();
        for key in known {
            let is_of_this_log = key.is_witness() || key.name == self.head.origin.as_str();
            if is_of_this_log && !keys.contains(&key) {
                keys.push(key);
            }
        }
        let note = Note::from_bytes(self.note.as_bytes()).map_err(|_| Error::Malformed)?;
        let list = VerifierList::new(keys.iter().map(|key| Box::new((*key).clone()) as Box<dyn Verifier>).collect());
        let (verified, _) = note.verify(&list).map_err(|failed| match failed {
            signed_note::NoteError::UnverifiedNote => Error::UnknownSigner,
            signed_note::NoteError::InvalidSignature { name, .. } => Error::BadSignature(name),
            _ => Error::Malformed,
        })?;
        let mut signers = Signers::default();
        for signature in verified {
            let Some(key) = keys.iter().find(|key| key.name == signature.name() && key.id() == signature.id()) else { continue };
            match cosigned_at(signature.signature()).filter(|_| key.is_witness()) {
                Some((time, _)) => signers.witnesses.push(((*key).clone(), time)),
                None => signers.logs.push((*key).clone()),
            }
        }
        if signers.logs.is_empty() { Err(Error::UnknownSigner) } else { Ok(signers) }
    }

    /// The cosignatures among these lines that hold, of these witnesses, a line each. Others' are passed over.
    #[must_use]
    pub fn cosignatures(&self, lines: &str, witnesses: &[VerifierKey]) -> Vec<String> {
        let text = self.head_text();
        let holds = |signature: &signed_note::Signature| {
            let of = |key: &&VerifierKey| key.is_witness() && key.name == signature.name() && key.id() == signature.id();
            witnesses.iter().find(of).is_some_and(|key| key.verify(text.as_bytes(), signature.signature()))
        };
        let read = lines.lines().filter_map(|line| signed_note::Signature::from_bytes(line.as_bytes()).ok());
        read.filter(holds).map(|signature| String::from_utf8_lossy(&signature.to_bytes()).into_owned()).collect()
    }

    /// The same checkpoint with these cosignatures, without repeating one that it has.
    #[must_use]
    pub fn with_cosignatures(&self, lines: &str, witnesses: &[VerifierKey]) -> Checkpoint {
        let mut note = self.note.clone();
        for line in self.cosignatures(lines, witnesses) {
            if !note.contains(&line) {
                note.push_str(&line);
            }
        }
        Checkpoint { head: self.head.clone(), note }
    }

    /// What was signed, extension lines included.
    fn head_text(&self) -> String {
        let text = self.note.rsplit_once("\n\n").map_or("", |(text, _)| text);
        format!("{text}\n")
    }
}

/// A key that a log signs its checkpoints with. Never shown; wiped when dropped.
#[derive(Clone)]
pub struct LogKey {
    origin: Origin,
    key: SigningKey,
}

impl LogKey {
    /// From its 32 secret bytes.
    #[must_use]
    pub fn from_seed(origin: Origin, seed: &[u8; 32]) -> LogKey {
        LogKey { origin, key: SigningKey::from_bytes(seed) }
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.origin.as_str().to_owned(), kind: Kind::Log, key: self.key.verifying_key() }
    }

    /// The signature's line.
    fn note_signature(&self, text: &str) -> String {
        let id = self.verifier().id().to_be_bytes();
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        format!("— {} {}\n", self.origin.as_str(), BASE64_STANDARD.encode([id.as_slice(), &signature].concat()))
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({})", self.verifier())
    }
}

/// A witness's key, with which it cosigns. For tests and for whoever runs a witness.
#[derive(Clone)]
pub struct WitnessKey {
    name: String,
    key: SigningKey,
}

impl WitnessKey {
    /// From its name and its 32 secret bytes.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> WitnessKey {
        WitnessKey { name: name.to_owned(), key: SigningKey::from_bytes(seed) }
    }

    /// What others check its cosignatures with.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        VerifierKey { name: self.name.clone(), kind: Kind::Witness, key: self.key.verifying_key() }
    }

    /// The cosignature's line for a checkpoint, at this time, in seconds since the epoch.
    #[must_use]
    pub fn cosign(&self, checkpoint: &Checkpoint, time: u64) -> String {
        let signature = self.key.sign(cosigned_text(time, checkpoint.head_text().as_bytes()).as_slice()).to_bytes();
        let id = self.verifier().id().to_be_bytes();
        format!("— {} {}\n", self.name, BASE64_STANDARD.encode([id.as_slice(), &time.to_be_bytes(), &signature].concat()))
    }
}

/// Which signatures a key makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Log,
    Witness,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Log => ED25519,
            Kind::Witness => COSIGNATURE_V1,
        }
    }
}

/// A public key with the name of its owner, in the text form of signed notes: `name+id+key`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    key: VerifyingKey,
}

/// A text that is no verifier key of a kind that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a verifier key, name+id+key, of an Ed25519 log or witness")]
pub struct MalformedKey;

impl VerifierKey {
    /// The log's public key, from its stored bytes; `None` if they are no key.
    #[must_use]
    pub fn of_log(origin: &Origin, public: &[u8; 32]) -> Option<VerifierKey> {
        let key = VerifyingKey::from_bytes(public).ok()?;
        Some(VerifierKey { name: origin.as_str().to_owned(), kind: Kind::Log, key })
    }

    /// Whose it is: a log's origin, or a witness's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it cosigns, rather than signs.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.kind == Kind::Witness
    }

    /// The public key's bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The short id by which a signature names its key.
    #[must_use]
    pub fn id(&self) -> u32 {
        signed_note::key_id(&self.name, &self.typed())
    }

    fn typed(&self) -> Vec<u8> {
        [&[self.kind.byte()], self.key.as_bytes().as_slice()].concat()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64_STANDARD.encode(self.typed()))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<VerifierKey, MalformedKey> {
        let (name, rest) = text.split_once('+').ok_or(MalformedKey)?;
        // The key itself may hold further plus signs.
        let (_, key) = rest.split_once('+').ok_or(MalformedKey)?;
        let typed = BASE64_STANDARD.decode(key).map_err(|_| MalformedKey)?;
        let (kind, bytes) = typed.split_first().ok_or(MalformedKey)?;
        let kind = match *kind {
            ED25519 => Kind::Log,
            COSIGNATURE_V1 => Kind::Witness,
            _ => return Err(MalformedKey),
        };
        let bytes = bytes.try_into().map_err(|_| MalformedKey)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| MalformedKey)?;
        let read = VerifierKey { name: name.to_owned(), kind, key };
        // Also holds the id against the key.
        if signed_note::is_key_name_valid(name) && read.to_string() == text { Ok(read) } else { Err(MalformedKey) }
    }
}

impl Verifier for VerifierKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let holds = |text: &[u8], signature: &[u8]| {
            Signature::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
        };
        match self.kind {
            Kind::Log => holds(text, signature),
            Kind::Witness => cosigned_at(signature).is_some_and(|(time, signature)| holds(&cosigned_text(time, text), signature)),
        }
    }
}

/// A cosignature's time, and the signature beside it. A time beyond 2^63 - 1 is none.
fn cosigned_at(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk::<TIME_LENGTH>()?;
    let time = u64::from_be_bytes(*time);
    i64::try_from(time).ok().map(|_| (time, signature))
}

/// What a witness signs.
fn cosigned_text(time: u64, text: &[u8]) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

#[cfg(test)]
mod tests;

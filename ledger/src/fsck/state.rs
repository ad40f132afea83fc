//! How far a check has come: what a later one goes on from.
//!
//! It is handed out only while nothing has been found, so that whoever goes on misses no finding. It holds the chain hash, the tree's
//! edge and the sums over what was read; what was read is not read again. The walks over the index of streams and over the table of
//! unique keys are done anew: they are held against the sums. It is bound to the log's origin, to the keys and to the checkpoints kept
//! elsewhere that the check was begun with, and to its own bytes; and when it is gone on from, to the log itself.
//!
//! Whoever can write it can make a check pass over what is wrong: it is for whoever checks to keep, not for the store.

use serde::{Deserialize, Serialize};

use super::events::{Events, Last};
use super::sums::{Salt, Span, Sums};
use super::tree::Tree;
use super::tree::checkpoints::{Reached, Sound};
use super::tree::growing::{Growing, LEVELS};
use super::{Against, Kind, Reporter};
use crate::chain::{Hash, Origin};
use crate::log::{Head, Log};
use crate::store::Error;
use crate::tree::{Frontier, Hash as TreeHash, TreeSize};
use crate::{Position, Timestamp};

/// Of this form.
const FORM: u32 = 1;

/// How far a check of a log has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    form: u32,
    origin: String,
    /// Of the keys and the checkpoints kept elsewhere.
    against: String,
    next: u64,
    chain_hash: String,
    recorded_at: u64,
    latest: u64,
    salt: String,
    stretch: u64,
    places: Vec<String>,
    claims: Vec<String>,
    tree: Option<u64>,
    root: Option<String>,
    subtrees: Vec<String>,
    edge: Vec<String>,
    checkpoints: u64,
    checkpoint: Option<(u64, u64, String, String)>,
    agreed: Option<(u64, u64)>,
}

/// Why a text is not gone on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its bytes are not those that were written.
    #[error("it is damaged, or no state of a check")]
    Damaged,
    /// Another version of this program wrote it.
    #[error("another version wrote it")]
    OtherForm,
    /// It is of another log.
    #[error("it is of another log")]
    OtherLog,
    /// The check was begun with other keys or other checkpoints.
    #[error("its check was begun with other keys or other checkpoints")]
    OtherEvidence,
}

/// Takes what a check hands out.
pub trait Keep: Send {
    /// Whether it is time again.
    fn is_due(&mut self) -> bool;

    /// Keeps this in the place of what it kept before. What becomes of that is its own affair: the check goes on.
    fn keep(&mut self, state: &State);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct KeepNothing;

impl Keep for KeepNothing {
    fn is_due(&mut self) -> bool {
        false
    }

    fn keep(&mut self, _: &State) {}
}

impl State {
    /// What is to be kept; `None` when something was found or the log is not chained so far.
    pub(super) fn of(origin: &Origin, events: &Events, tree: &Tree<'_>, salt: Salt) -> Option<State> {
        let [chain_hash] = events.links[..] else { return None };
        let last = events.last.as_ref()?;
        let (size, root, Growing { frontier, edge }) = tree.kept()?;
        let Reached { next: checkpoints, last: checkpoint, agreed } = tree.checkpoints.kept()?;
        let sums = |sums: &Sums| sums.as_slice().iter().map(|sum| format!("{sum:x}")).collect();
        Some(State {
            form: FORM,
            origin: origin.as_str().to_owned(),
            against: tree.evidence().to_owned(),
            next: events.next,
            chain_hash: chain_hash.to_string(),
            recorded_at: last.recorded_at.as_micros(),
            latest: events.time.as_micros(),
            salt: hex::encode(salt.0),
            stretch: events.places.span().length,
            places: sums(&events.places),
            claims: sums(&events.claims),
            tree: size.map(|size| size.0),
            root: root.map(|root| hex::encode(root.0)),
            subtrees: frontier.subtrees().iter().map(|hash| hex::encode(hash.0)).collect(),
            edge: edge.iter().map(hex::encode).collect(),
            checkpoints,
            checkpoint: checkpoint.map(|Sound { number, size, root, note }| (number, size.0, hex::encode(root.0), note)),
            agreed: agreed.map(|(number, size)| (number, size.0)),
        })
    }

    /// How many events have been checked.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.next
    }

    /// As a text that tells when it was damaged.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body = serde_json::to_string(self).unwrap_or_default();
        format!("{}\n{body}\n", blake3::hash(body.as_bytes()).to_hex())
    }

    /// From that text, for a check of this log that begins with the same evidence.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn from_text(text: &str, origin: &Origin, against: &Against<'_>) -> Result<State, Refused> {
        let (hash, body) = text.split_once('\n').ok_or(Refused::Damaged)?;
        let body = body.strip_suffix('\n').ok_or(Refused::Damaged)?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != hash {
            return Err(Refused::Damaged);
        }
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let Form { form } = serde_json::from_str(body).map_err(|_| Refused::Damaged)?;
        if form != FORM {
            return Err(Refused::OtherForm);
        }
        let state: State = serde_json::from_str(body).map_err(|_| Refused::Damaged)?;
        if state.origin != origin.as_str() {
            return Err(Refused::OtherLog);
        }
        if state.against != evidence(against) {
            return Err(Refused::OtherEvidence);
        }
        Ok(state)
    }

    /// `None` if a part is not what it should be, which its own hash makes unlikely.
    fn growing(&self) -> Option<Growing> {
        let subtrees = self.subtrees.iter().map(|hash| hash_of(hash).map(TreeHash)).collect::<Option<Vec<TreeHash>>>()?;
        let edge = self.edge.iter().map(|held| hex::decode(held).ok()).collect::<Option<Vec<Vec<u8>>>>()?;
        let frontier = Frontier::resume(TreeSize(self.next), subtrees)?;
        Some(Growing { frontier, edge: <[Vec<u8>; LEVELS.len()]>::try_from(edge).ok()? })
    }

    fn events_read(&self, span: Span) -> Option<Events> {
        let sums = |sums: &[String]| {
            let sums = sums.iter().map(|sum| u128::from_str_radix(sum, 16).ok()).collect::<Option<Vec<u128>>>()?;
            Some(Sums::resume(span, sums))
        };
        let chain_hash = Hash(hash_of(&self.chain_hash)?);
        let position = Position(self.next.checked_sub(1)?);
        let last = Last { position, chain_hash, recorded_at: Timestamp::from_micros(self.recorded_at) };
        Some(Events {
            next: self.next,
            links: vec![chain_hash],
            time: Timestamp::from_micros(self.latest),
            last: Some(last),
            read: self.next,
            places: sums(&self.places)?,
            claims: sums(&self.claims)?,
            hashes: Vec::new(),
        })
    }
}

/// Goes on from `state`, if the log still is what it was: else says what it is, and the check begins anew.
pub(super) async fn resume(
    log: &dyn Log,
    state: Option<State>,
    head: &Head,
    tree: &mut Tree<'_>,
    reporter: &mut Reporter<'_>,
) -> Result<Option<(Events, Span, Salt)>, Error> {
    let Some(state) = state else { return Ok(None) };
    let next = state.next;
    if head.size < next {
        let detail = format!("the log was cut: an earlier check has read {next} events, the head says {}", head.size);
        reporter.add(head.last(), Kind::Head, detail);
        return Ok(None);
    }
    let span = Span { size: next, length: state.stretch.max(1) }.grown(head.size);
    let (Some(events), Some(growing), Some(salt)) = (state.events_read(span), state.growing(), hash_of(&state.salt)) else {
        return Ok(None);
    };
    let stored = match events.last.as_ref() {
        Some(last) => match log.read_at(&[last.position]).await {
            Ok(stored) => stored.first().map(|event| event.chain_hash),
            // It will be found.
            Err(Error::Corrupt(_)) => None,
            Err(failed) => return Err(failed),
        },
        None => None,
    };
    if let Some(stored) = stored.filter(|stored| *stored != events.links[0]) {
        let detail = format!("an earlier check has read the chain hash {} here, stored is {stored}", events.links[0]);
        reporter.add(Position(next - 1), Kind::ChainHash, detail);
    }
    if stored != events.links.first().copied()
        || !tree.resume(state.tree.map(TreeSize), state.root.as_deref().and_then(hash_of).map(TreeHash), growing)
    {
        return Ok(None);
    }
    let last = state
        .checkpoint
        .and_then(|(number, size, root, note)| Some(Sound { number, size: TreeSize(size), root: TreeHash(hash_of(&root)?), note }));
    let agreed = state.agreed.map(|(number, size)| (number, TreeSize(size)));
    tree.checkpoints.resume(Reached { next: state.checkpoints, last, agreed }, TreeSize(next));
    Ok(Some((events, span, Salt(salt))))
}

/// What tells keys and checkpoints kept elsewhere from others.
pub(super) fn evidence(against: &Against<'_>) -> String {
    let mut parts: Vec<String> = against.known.iter().map(ToString::to_string).collect();
    parts.extend(against.held.iter().map(|held| format!("{}\0{}\0{}", held.at, held.is_published, held.checkpoint.note())));
    parts.sort_unstable();
    blake3::hash(parts.join("\0\0").as_bytes()).to_hex().to_string()
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}

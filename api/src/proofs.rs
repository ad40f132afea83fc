//! What a process knows of the logs' trees: where tiles and checkpoints are read, and, where it may sign, who publishes them.
//!
//! A process without a publisher waits for what others publish.

use std::time::Duration;

use credence_ledger::publisher::{Publisher, Status};
use credence_ledger::receipt::Receipt;
use credence_ledger::store::Error;
use credence_ledger::tiles::{self, Published, Tiles};
use credence_ledger::tree::proof::{Question, check_consistency, check_inclusion};
use credence_ledger::tree::tile::{HASH_LENGTH, Level, Tile, WIDTH};
use credence_ledger::tree::{Hash, TreeSize};
use credence_ledger::{LogName, Position, chain, checkpoint};
use std::sync::Arc;
use tokio::time::Instant;

/// How often others' checkpoints are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Both logs' trees.
pub struct Proofs {
    /// The ledger's.
    pub ledger: LogProofs,
    /// The audit log's.
    pub audit: LogProofs,
    /// Whether the audit log's tiles and checkpoints are for everybody.
    pub audit_is_public: bool,
    /// Whether the last signed checkpoint is kept anywhere but on the ledger's own server.
    pub kept_outside: bool,
}

/// One log's tree.
pub struct LogProofs {
    /// Its tiles and checkpoints.
    pub tiles: Arc<dyn Tiles>,
    /// Who publishes its checkpoints; `None` in a process that may not sign.
    pub publisher: Option<Publisher>,
}

/// That an event is in a log's tree, which a checkpoint speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The event's place.
    pub position: Position,
    /// The event's hash: the leaf's entry.
    pub event_hash: chain::Hash,
    /// From the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

impl Proofs {
    /// Of this log.
    #[must_use]
    pub fn of(&self, log: &LogName) -> &LogProofs {
        if *log == LogName::AUDIT { &self.audit } else { &self.ledger }
    }

    /// How publishing goes where it does not go well, a log each.
    #[must_use]
    pub fn troubles(&self) -> Vec<(LogName, Status)> {
        let both = [&self.ledger, &self.audit].into_iter();
        let standing = both.filter_map(|tree| Some((tree.tiles.log().clone(), tree.publisher.as_ref()?.status())));
        standing.filter(|(_, status)| *status != Status::Good).collect()
    }
}

impl LogProofs {
    /// The newest checkpoint, or one that is newer, once it covers this position; `None` if there is none in time.
    ///
    /// # Errors
    /// The store's.
    pub async fn covering(&self, position: Position, within: Duration) -> Result<Option<Published>, Error> {
        let deadline = Instant::now() + within;
        if let Some(publisher) = &self.publisher {
            return publisher.covering(position, deadline).await;
        }
        loop {
            let latest = self.tiles.latest().await?.filter(|latest| latest.size.covers(position));
            if latest.is_some() || Instant::now() >= deadline {
                return Ok(latest);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// That the event at this position is in a tree of this size, which the log has reached.
    ///
    /// # Errors
    /// The store's; [`Error::Corrupt`] when the tiles do not prove it.
    pub async fn inclusion(&self, position: Position, size: TreeSize) -> Result<(chain::Hash, Vec<Hash>, Hash), Error> {
        let event_hash = self.entry(position).await?;
        let hashes = tiles::ask(&*self.tiles, Question::Inclusion(position, size)).await?;
        let root = self.root(size).await?;
        // A proof that does not hold is not given away.
        check_inclusion(&hashes, size, root, position, Hash::leaf(event_hash))
            .map_err(|_| Error::Corrupt(format!("the tiles do not prove {}", self.tiles.log().at(position))))?;
        Ok((event_hash, hashes, root))
    }

    /// The root of the tree at this size, which the log has reached: one that the newest checkpoint goes on from.
    ///
    /// # Errors
    /// The store's; [`Error::Corrupt`] when tiles and checkpoint contradict each other.
    pub async fn root(&self, size: TreeSize) -> Result<Hash, Error> {
        let root = tiles::root(&*self.tiles, size).await?;
        if let Some(latest) = self.tiles.latest().await?.filter(|latest| latest.size >= size) {
            let signed = latest.checkpoint()?;
            let proof = tiles::ask(&*self.tiles, Question::Consistency(size, latest.size)).await?;
            check_consistency(&proof, (size, root), (latest.size, signed.head().root))
                .map_err(|_| Error::Corrupt(format!("the tiles of {} are not those that were signed", self.tiles.log())))?;
        }
        Ok(root)
    }

    /// That the tree of one size begins with that of another, with their roots: a proof that holds.
    ///
    /// # Errors
    /// As [`LogProofs::root`].
    pub async fn consistency(&self, from: TreeSize, to: TreeSize) -> Result<(Hash, Hash, Vec<Hash>), Error> {
        let (old, new) = (self.root(from).await?, self.root(to).await?);
        let proof = tiles::ask(&*self.tiles, Question::Consistency(from, to)).await?;
        check_consistency(&proof, (from, old), (to, new))
            .map_err(|_| Error::Corrupt(format!("the tiles of {} prove nothing between {from} and {to}", self.tiles.log())))?;
        Ok((old, new, proof))
    }

    /// A proof of the event at this position, once a checkpoint covers it; `None` if none does in time.
    ///
    /// # Errors
    /// As [`LogProofs::inclusion`].
    pub async fn prove(&self, position: Position, within: Duration) -> Result<Option<Proof>, Error> {
        let Some(published) = self.covering(position, within).await? else { return Ok(None) };
        let (event_hash, hashes, root) = self.inclusion(position, published.size).await?;
        let checkpoint = published.checkpoint()?;
        if checkpoint.head().root != root {
            return Err(Error::Corrupt(format!("checkpoint {} of {} is of another tree", published.number, self.tiles.log())));
        }
        Ok(Some(Proof { position, event_hash, hashes, checkpoint: published.note }))
    }

    /// The receipt of an event with this content, once a checkpoint covers its position; `None` if none does in time.
    ///
    /// # Errors
    /// As [`LogProofs::inclusion`]; [`Error::Corrupt`] when the tree holds another event there.
    pub async fn receipt(&self, position: Position, content: Vec<u8>, within: Duration) -> Result<Option<Receipt>, Error> {
        let Some(Proof { hashes, checkpoint, .. }) = self.prove(position, within).await? else { return Ok(None) };
        let checkpoint = checkpoint::Checkpoint::parse(&checkpoint).map_err(|error| Error::Corrupt(error.to_string()))?;
        let receipt = Receipt { content, position, proof: hashes, checkpoint };
        receipt.check().map_err(|wrong| Error::Corrupt(wrong.to_string()))?;
        Ok(Some(receipt))
    }

    async fn entry(&self, position: Position) -> Result<chain::Hash, Error> {
        let missing = || Error::Corrupt(format!("the tiles lack {}", self.tiles.log().at(position)));
        let width = WIDTH as u64;
        let tile = Tile { level: Level::Entries, index: position.0 / width };
        let held = self.tiles.read(&[tile]).await?.pop().flatten().ok_or_else(missing)?;
        let at = usize::try_from(position.0 % width).map_err(|_| missing())? * HASH_LENGTH;
        held.get(at..at + HASH_LENGTH).and_then(chain::Hash::from_slice).ok_or_else(missing)
    }
}

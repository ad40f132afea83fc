//! The publisher: lets a log's tree grow and publishes signed checkpoints of it.
//!
//! One round, after each step of which a crash is safe, since the next round, in whichever process, begins at the first:
//!
//! 1. the tiles are brought up to the log;
//! 2. everything that was signed before, wherever it is kept, is held against the tree;
//! 3. a checkpoint of the tree is signed and put into the guard, in the vault, over the one that is known;
//! 4. the same is kept outside ([`anchor`]) where that is configured, and cosigned by witnesses ([`cosigners`]);
//! 5. it is published.
//!
//! What always holds: nothing is published that the guard does not hold, nothing is signed that does not begin with everything
//! signed before, and no append ever waits for any of this. Several processes may run rounds for one log at the same time: the guard
//! moves from a note that is known only, so one of them signs.
//!
//! A ledger that was rolled back, or replaced, has a smaller tree or another one than was signed. Then nothing is signed any more,
//! and [`Status`] tells what to do. What was signed last is held against the witnesses, too, when a process starts: they may have seen
//! more than any store still holds.

pub mod anchor;
pub mod cosigners;
pub mod policy;
#[cfg(test)]
mod tests;
pub mod witness;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::anchor::Anchor;
use self::cosigners::Cosigners;
use crate::checkpoint::{Checkpoint, TreeHead};
use crate::store::Error;
use crate::tiles::{self, Published, Tiles};
use crate::tree::TreeSize;
use crate::tree::growth::Edge;
use crate::vault::Vault;
use crate::{Clock, Position, causes};

/// Rounds that are asked for are at least so far apart: whoever asks meanwhile is served by the same one.
const PACE: Duration = Duration::from_millis(50);
/// How soon a round that failed is tried again, whether or not one is asked for.
const RETRY: Duration = Duration::from_secs(1);
/// How long a start waits for the witnesses. Those that do not answer are asked by the first round.
const START_MAX: Duration = Duration::from_secs(3);

/// What to do about a log that is not what it was.
const RESTORE: &str = "restore it from a backup that is not older than that checkpoint, or, if that history is lost, begin another log, of \
                       another origin";

/// How a log's checkpoints are published.
pub struct Settings {
    /// How often, unless one is asked for.
    pub interval: Duration,
    /// Where the last signed checkpoint is kept outside the ledger's server.
    pub anchor: Option<Anchor>,
    /// Who cosigns, and how many are wanted.
    pub cosigners: Cosigners,
    /// Dates new keys.
    pub clock: Arc<dyn Clock>,
}

/// How publishing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The last round did what it should, or none was run yet.
    Good,
    /// The last round did what it should, but a witness that is not wanted for it contradicts the log. What it says.
    Contested(String),
    /// The last round failed; the next may not. Why.
    Failing(String),
    /// The log is not the one that was signed before.
    Refused(Contradiction),
}

/// A log that contradicts what was signed before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{log}: {what}. Nothing is signed any more")]
pub struct Contradiction {
    /// Which log.
    pub log: crate::LogName,
    /// What contradicts what.
    pub what: String,
}

/// Why a round did not publish.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error(transparent)]
    Store(#[from] Error),
    #[error("the anchor cannot be used")]
    Anchor(#[source] anchor::Error),
    #[error("what {0} keeps is no checkpoint: put the newest one there that was published, as /v1/logs/{1}/checkpoint tells it")]
    Damaged(Place, crate::LogName),
    #[error("too few witnesses cosigned: {0}")]
    Witnesses(String),
}

/// Where a checkpoint that was signed is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Guard,
    Anchor,
    Store,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Guard => "the vault",
            Place::Anchor => "the anchor",
            Place::Store => "the log's own store",
        })
    }
}

/// A handle on the task that publishes a log's checkpoints.
pub struct Publisher {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Shared {
    tiles: Arc<dyn Tiles>,
    demand: Notify,
    published: watch::Sender<Option<Published>>,
    status: watch::Sender<Status>,
}

impl Publisher {
    /// Holds the log against what was signed before, without signing anything, and starts the task. It must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`Contradiction`]. A store, anchor or witness that does not answer stops nothing: the task goes on trying.
    pub async fn start(tiles: Arc<dyn Tiles>, vault: Arc<dyn Vault>, settings: Settings) -> Result<Publisher, Contradiction> {
        let (published, status) = (watch::Sender::new(None), watch::Sender::new(Status::Good));
        let shared = Arc::new(Shared { tiles, demand: Notify::new(), published, status });
        let mut rounds = Rounds::new(shared.clone(), vault, settings);
        if let Err(Failure::Contradiction(contradiction)) = rounds.recall().await {
            return Err(contradiction);
        }
        let stop = CancellationToken::new();
        let task = tokio::spawn(rounds.run(stop.clone()));
        Ok(Publisher { shared, stop, task })
    }

    /// Waits until a published checkpoint covers this position, and answers it; `None` past the deadline.
    ///
    /// # Errors
    /// The store's.
    pub async fn covering(&self, position: Position, deadline: Instant) -> Result<Option<Published>, Error> {
        let mut published = self.shared.published.subscribe();
        let covers = |published: &Option<Published>| published.as_ref().is_some_and(|published| published.size.covers(position));
        if !covers(&published.borrow_and_update()) {
            // Another process may have published it.
            let latest = self.shared.tiles.latest().await?;
            if covers(&latest) {
                return Ok(latest);
            }
            self.shared.demand.notify_one();
        }
        match tokio::time::timeout_at(deadline, published.wait_for(covers)).await {
            Ok(Ok(published)) => Ok(published.clone()),
            _ => Ok(None),
        }
    }

    /// How publishing goes.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Runs a last round, within this time, and ends the task.
    pub async fn shutdown(&self, within: Duration) {
        self.stop.cancel();
        let ended = async {
            while !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(within, ended).await.is_err() {
            self.task.abort();
        }
    }
}

struct Rounds {
    shared: Arc<Shared>,
    vault: Arc<dyn Vault>,
    settings: Settings,
    edge: Option<Edge>,
    /// Whether the witnesses have agreed, since the process began, with what was signed.
    agreed: bool,
}

impl Rounds {
    fn new(shared: Arc<Shared>, vault: Arc<dyn Vault>, mut settings: Settings) -> Rounds {
        if let Some(Anchor::Witness(key)) = &settings.anchor {
            settings.cosigners = settings.cosigners.requiring(key.clone());
        }
        let agreed = settings.cosigners.is_empty();
        Rounds { shared, vault, settings, edge: None, agreed }
    }

    async fn run(mut self, stop: CancellationToken) {
        loop {
            let is_last = stop.is_cancelled();
            let began = Instant::now();
            let round = self.round().await;
            let (pause, pace) = if round.is_ok() { (self.settings.interval, PACE) } else { (self.settings.interval.min(RETRY), RETRY) };
            self.tell(round);
            if is_last {
                return;
            }
            let on_demand = async {
                self.shared.demand.notified().await;
                tokio::time::sleep_until(began + pace).await;
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = on_demand => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Says how it went when that changes: once, not every round. What lies beneath is for the log of the process alone.
    fn tell(&self, round: Result<(), Failure>) {
        let log = self.shared.tiles.log();
        let (status, detail) = match round {
            Ok(()) => (self.settings.cosigners.contested().map_or(Status::Good, Status::Contested), String::new()),
            Err(Failure::Contradiction(contradiction)) => (Status::Refused(contradiction), String::new()),
            Err(failed) => (Status::Failing(failed.to_string()), causes(&failed)),
        };
        metrics::gauge!("credence_checkpoint_refused", "log" => log.to_string())
            .set(f64::from(u8::from(matches!(status, Status::Refused(_)))));
        let changed = self.shared.status.send_if_modified(|known| {
            let changed = *known != status;
            known.clone_from(&status);
            changed
        });
        match status {
            Status::Refused(contradiction) if changed => tracing::error!(%log, %contradiction, "no checkpoint is signed"),
            Status::Failing(_) if changed => tracing::warn!(%log, reason = detail, "no checkpoint was published"),
            Status::Contested(said) if changed => tracing::error!(%log, said, "checkpoints are published, but a witness contradicts them"),
            Status::Good if changed => tracing::info!(%log, "checkpoints are published again"),
            _ => {}
        }
    }

    async fn round(&mut self) -> Result<(), Failure> {
        let size = tiles::grow(&*self.shared.tiles, &mut self.edge).await?;
        let (signed, published) = self.review().await?;
        let key = self.vault.log_key(self.shared.tiles.log(), self.settings.clock.now()).await?;
        let stands = signed.as_ref().is_some_and(|signed| {
            let is_ours = signed.verify(&[key.verifier()]).is_ok();
            signed.head().size >= size && is_ours
        });
        let signed = match signed {
            // There is nothing to be said of a log without events.
            None if size == TreeSize::EMPTY => return Ok(()),
            Some(signed) if stands => signed,
            known => {
                let root = tiles::root(&*self.shared.tiles, size).await?;
                let head = TreeHead { origin: self.shared.tiles.origin().clone(), size, root };
                let new = Checkpoint::sign(head, &key);
                let known = known.as_ref().map(Checkpoint::note);
                if !self.vault.advance_guard(self.shared.tiles.log(), known, new.note()).await? {
                    // Another process signs; the next round, which is soon, sees what.
                    self.shared.demand.notify_one();
                    return Ok(());
                }
                new
            }
        };
        // From here on a crash leaves a note in the guard that the next round publishes.
        self.publish(signed, published).await
    }

    /// Holds what was signed last against the tree and, as far as they answer soon, against the witnesses.
    async fn recall(&mut self) -> Result<(), Failure> {
        let (signed, _) = self.review().await?;
        let Some(signed) = signed.filter(|_| !self.agreed) else { return Ok(()) };
        let cosigned = self.settings.cosigners.cosign(&signed, &*self.shared.tiles);
        match tokio::time::timeout(START_MAX, cosigned).await {
            Ok(Err(refused @ cosigners::Error::Contradicted(_))) => return Err(self.refused_by_witnesses(refused)),
            Ok(Err(cosigners::Error::TooFew(said))) => {
                tracing::warn!(log = %self.shared.tiles.log(), said, "the witnesses could not be asked what they have seen: the first round asks again");
            }
            Ok(Ok(_)) => self.agreed = true,
            Err(_) => {
                tracing::warn!(log = %self.shared.tiles.log(), "the witnesses did not tell in time what they have seen: the first round asks again");
            }
        }
        Ok(())
    }

    /// Holds everything that was signed before against the tree, brings guard and anchor up to the largest, and answers that and
    /// what was published last.
    async fn review(&self) -> Result<(Option<Checkpoint>, Option<Published>), Failure> {
        let log = self.shared.tiles.log();
        let guarded = self.vault.guard(log).await?;
        let published = self.shared.tiles.latest().await?;
        if let Some(published) = &published {
            // What is stored beside the note says the same.
            published.checkpoint()?;
        }
        let mut largest = self.largest(None, Place::Guard, guarded.as_deref()).await?;
        largest = self.largest(largest, Place::Store, published.as_ref().map(|published| published.note.as_str())).await?;
        // Last, since it may not answer: what the others keep is held against the log all the same.
        let anchored = match &self.settings.anchor {
            Some(anchor) => anchor.read(log).await.map_err(Failure::Anchor)?,
            None => None,
        };
        largest = self.largest(largest, Place::Anchor, anchored.as_deref()).await?;
        if let Some(largest) = &largest {
            self.raise(largest, guarded.as_deref(), anchored.as_deref()).await?;
        }
        Ok((largest, published))
    }

    /// The larger of two checkpoints, once the tree was held against the second. Of equals the first counts: the guard's may be signed by
    /// a newer key than others.
    async fn largest(&self, known: Option<Checkpoint>, place: Place, note: Option<&str>) -> Result<Option<Checkpoint>, Failure> {
        let Some(note) = note else { return Ok(known) };
        let checkpoint = self.consistent(place, note).await?;
        let is_larger = known.as_ref().is_none_or(|known| checkpoint.head().size > known.head().size);
        Ok(if is_larger { Some(checkpoint) } else { known })
    }

    /// A note that was signed before, if the tree begins with what it says.
    async fn consistent(&self, place: Place, note: &str) -> Result<Checkpoint, Failure> {
        let tiles = &*self.shared.tiles;
        let contradiction = |what: String| Failure::from(Contradiction { log: tiles.log().clone(), what });
        let checkpoint = Checkpoint::parse(note).map_err(|_| Failure::Damaged(place, tiles.log().clone()))?;
        let TreeHead { origin, size, root } = checkpoint.head();
        if origin != tiles.origin() {
            return Err(contradiction(format!(
                "{place} keeps a checkpoint of {}, and this log is {}: it is not this log's place",
                origin.as_str(),
                tiles.origin().as_str()
            )));
        }
        // What was signed had its tiles stored before: a smaller tree has lost events.
        let mut grown = tiles.size().await?;
        if *size > grown {
            // Unless this is a copy, which brings its events first.
            grown = tiles::grow(tiles, &mut None).await?;
        }
        if *size > grown {
            let what = format!("{place} keeps a checkpoint of {size} events, and the tree has {grown}: it was rolled back; {RESTORE}");
            return Err(contradiction(what));
        }
        if tiles::root(tiles, *size).await? != *root {
            let what = format!(
                "{place} keeps a checkpoint of {size} events, and the first {size} of this log are others: history was rewritten; {RESTORE}"
            );
            return Err(contradiction(what));
        }
        Ok(checkpoint)
    }

    /// A vault or an anchor that was restored from a backup is brought up to what is known elsewhere.
    async fn raise(&self, largest: &Checkpoint, guarded: Option<&str>, anchored: Option<&str>) -> Result<(), Failure> {
        let log = self.shared.tiles.log();
        let is_behind = |note: Option<&str>| {
            let size = note.and_then(|note| Checkpoint::parse(note).ok()).map(|kept| kept.head().size);
            size.is_none_or(|size| size < largest.head().size)
        };
        if is_behind(guarded) {
            self.vault.advance_guard(log, guarded, largest.note()).await?;
        }
        if let Some(anchor) = &self.settings.anchor
            && is_behind(anchored)
        {
            anchor.keep(largest, log).await.map_err(Failure::Anchor)?;
        }
        Ok(())
    }

    async fn publish(&mut self, signed: Checkpoint, published: Option<Published>) -> Result<(), Failure> {
        let tiles = &*self.shared.tiles;
        // What witnesses added stands after what the log signed.
        let standing = published.as_ref().filter(|published| published.note.starts_with(signed.note()));
        if let Some(standing) = standing {
            self.announce(standing.clone());
            if self.agreed {
                return Ok(());
            }
        }
        if let Some(anchor) = &self.settings.anchor {
            anchor.keep(&signed, tiles.log()).await.map_err(Failure::Anchor)?;
        }
        let cosigned = self.settings.cosigners.cosign(&signed, tiles).await.map_err(|refused| self.refused_by_witnesses(refused))?;
        self.agreed = true;
        if standing.is_some() {
            return Ok(());
        }
        let number = published.map_or(0, |published| published.number + 1);
        let next = Published { number, size: signed.head().size, note: cosigned.note().to_owned() };
        if tiles.publish(&next).await? {
            self.announce(next);
        } else {
            self.shared.demand.notify_one();
        }
        Ok(())
    }

    fn announce(&self, published: Published) {
        let log = self.shared.tiles.log().to_string();
        #[expect(clippy::cast_precision_loss, reason = "a metric's value: sizes stay far below 2^52")]
        metrics::gauge!("credence_checkpoint_size", "log" => log).set(published.size.0 as f64);
        self.shared.published.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(&published);
            *known = Some(published);
            is_new
        });
    }

    fn refused_by_witnesses(&self, refused: cosigners::Error) -> Failure {
        match refused {
            cosigners::Error::TooFew(said) => Failure::Witnesses(said),
            cosigners::Error::Contradicted(what) => {
                let what = format!("{what}; {RESTORE}");
                Contradiction { log: self.shared.tiles.log().clone(), what }.into()
            }
        }
    }
}

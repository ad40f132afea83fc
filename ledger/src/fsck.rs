//! The self-check: reads a log back and names everything that does not hold.
//!
//! It takes the head first and checks what lies before it, so that it can run beside processes that append. Three walks go on at
//! the same time, each page by page: over the events by position, over the index of streams, and over the table of unique keys;
//! besides, the engine is asked to check how it keeps them.
//!
//! Memory does not grow with the log. A walk holds what it needs of the event before, and a few pages that are read ahead. What
//! one walk tells is held against what another tells by sums over either ([`sums`]), of a fixed number, not by a copy. What is
//! wrong is named in further walks over the stretches of the log in which sums differ.
//!
//! Every check compares what is stored with what is stored elsewhere or computed; nothing is trusted because it stands in the
//! right table. Where one damaged value would break several rules, the rule that it stands for is named and the others are
//! judged without it.

mod events;
mod keys;
mod page;
mod sums;
mod versions;

use std::fmt;

use tokio::sync::OnceCell;

use crate::chain::Hash;
use crate::log::{Head, Log};
use crate::store::Error;
use crate::{LogName, Position};
use sums::Salt;

/// How many events are read at a time.
const PAGE: usize = 1000;

/// Which rule does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The event's hash is not that of its content.
    EventHash,
    /// The chain hash does not follow from the event before.
    ChainHash,
    /// Positions are missing.
    Gap,
    /// A stream's versions are not dense.
    Version,
    /// An event is older than the one before it.
    Time,
    /// Stored bytes are not what this program writes.
    Encoding,
    /// The head row does not say what the last event says.
    Head,
    /// The table of unique keys does not follow from the events.
    UniqueKey,
    /// What the engine keeps is not whole: its pages, its indexes against their tables.
    File,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::EventHash => "event-hash",
            Kind::ChainHash => "chain-hash",
            Kind::Gap => "gap",
            Kind::Version => "version",
            Kind::Time => "time",
            Kind::Encoding => "encoding",
            Kind::Head => "head",
            Kind::UniqueKey => "unique-key",
            Kind::File => "file",
        })
    }
}

/// One thing that does not hold. Shown as `ledger@42 event-hash: …`, or `ledger head: …` where no event is to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The log.
    pub log: LogName,
    /// The event.
    pub position: Option<Position>,
    /// The rule.
    pub kind: Kind,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(position) => write!(f, "{} {}: {}", self.log.at(position), self.kind, self.detail),
            None => write!(f, "{} {}: {}", self.log, self.kind, self.detail),
        }
    }
}

/// What was checked. Shown as `ledger: 43 events, head ledger@42 <hex>, ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The log.
    pub log: LogName,
    /// How many events were read.
    pub events: u64,
    /// The last of them.
    pub head: Option<Position>,
    /// Its chain hash as stored; the origin's genesis when there is no event.
    pub chain_hash: Hash,
    /// How many findings there were.
    pub findings: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} events, head ", self.log, self.events)?;
        match self.head {
            Some(position) => write!(f, "{}", self.log.at(position))?,
            None => f.write_str("none")?,
        }
        write!(f, " {}, ", self.chain_hash)?;
        match self.findings {
            0 => f.write_str("ok"),
            findings => write!(f, "{findings} findings"),
        }
    }
}

/// Checks a whole log. `report` gets each finding as it is made, `progress` how many positions of how many are done.
///
/// # Errors
/// The store failed. That what it holds cannot be read as events is a finding, no error.
pub async fn check(
    log: &dyn Log,
    report: &mut (dyn FnMut(Finding) + Send),
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Summary, Error> {
    let damages_found = OnceCell::new();
    let mut reporter = Reporter { log, damages: &damages_found, damages_told: false, held: Vec::new(), findings: 0, report };
    let events = match read_head(log, &mut reporter).await? {
        Some(head) => {
            let salt = Salt::new();
            let walked = tokio::try_join!(
                events::read(log, &head, salt, &mut reporter, progress),
                versions::walk(log, head.size, salt),
                keys::walk(log, head.size, salt),
                damages(log, &damages_found),
            );
            // Also when the rest failed, for this may be why.
            reporter.tell_damages().await?;
            let (events, index, table, _) = walked?;
            versions::name(log, head.size, salt, index, &events.places, &mut reporter).await?;
            keys::name(log, head.size, table, &events.claims, &mut reporter).await?;
            Some(events)
        }
        None => None,
    };
    let (events, last) = events.map_or((0, None), |events| (events.read, events.last));
    Ok(Summary {
        log: log.name().clone(),
        events,
        head: last.as_ref().map(|last| last.position),
        chain_hash: last.map_or_else(|| log.origin().genesis(), |last| last.chain_hash),
        findings: reporter.findings,
    })
}

/// Passes findings on, but not before it is known what is wrong with the file: of a file that is not whole the rest can tell
/// anything.
struct Reporter<'a> {
    log: &'a dyn Log,
    damages: &'a OnceCell<Vec<String>>,
    damages_told: bool,
    held: Vec<Finding>,
    findings: u64,
    report: &'a mut (dyn FnMut(Finding) + Send),
}

impl Reporter<'_> {
    /// Holds a finding until [`Reporter::tell`].
    fn add(&mut self, position: impl Into<Option<Position>>, kind: Kind, detail: impl Into<String>) {
        self.held.push(Finding { log: self.log.name().clone(), position: position.into(), kind, detail: detail.into() });
    }

    /// Reports what is held. With nothing to report it does not wait for the file.
    async fn tell(&mut self) -> Result<(), Error> {
        if !self.held.is_empty() {
            self.tell_damages().await?;
            self.findings += self.held.len() as u64;
            self.held.drain(..).for_each(&mut *self.report);
        }
        Ok(())
    }

    async fn tell_damages(&mut self) -> Result<(), Error> {
        if !self.damages_told {
            let damages = damages(self.log, self.damages).await?;
            self.damages_told = true;
            self.findings += damages.len() as u64;
            for wrong in damages {
                (self.report)(Finding { log: self.log.name().clone(), position: None, kind: Kind::File, detail: wrong.clone() });
            }
        }
        Ok(())
    }
}

/// What the engine finds wrong with the file; it is looked for once.
async fn damages<'a>(log: &dyn Log, damages: &'a OnceCell<Vec<String>>) -> Result<&'a Vec<String>, Error> {
    damages.get_or_try_init(|| log.damages()).await
}

async fn read_head(log: &dyn Log, reporter: &mut Reporter<'_>) -> Result<Option<Head>, Error> {
    match log.head().await {
        Ok(head) => Ok(Some(head)),
        Err(Error::Corrupt(what)) => {
            reporter.add(None, Kind::Head, what);
            reporter.tell().await?;
            Ok(None)
        }
        // The log has been opened, so it had one.
        Err(Error::NotMigrated) => {
            reporter.add(None, Kind::Head, "the row is missing");
            reporter.tell().await?;
            Ok(None)
        }
        Err(failed) => Err(failed),
    }
}

#[cfg(test)]
mod tests;

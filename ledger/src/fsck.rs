//! The self-check: reads a log back and names everything that does not hold.
//!
//! It takes the head first and checks what lies before it, so that it can run beside processes that append. Memory: a page of
//! events, and some fifty bytes a stream for the last version and who claims a unique key.
//!
//! Every check compares what is stored with what is stored elsewhere or computed; nothing is trusted because it stands in the
//! right table. Where one damaged value would break several rules, the rule that it stands for is named and the others are
//! judged without it.

mod keys;

use std::fmt;

use crate::chain::{self, Hash};
use crate::event::Recorded;
use crate::log::{Head, Log, Query};
use crate::store::Error;
use crate::{LogName, Position, Stream, Version, codec};
use keys::Streams;

/// How many events are read at a time.
const PAGE: usize = 500;

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
    let mut reporter = Reporter { log: log.name().clone(), findings: 0, report };
    // It comes first: of a file that is not whole the rest can tell anything.
    for wrong in log.damages().await? {
        reporter.add(None, Kind::File, wrong);
    }
    let Some(head) = read_head(log, &mut reporter).await? else {
        return Ok(Summary { log: reporter.log, events: 0, head: None, chain_hash: log.origin().genesis(), findings: reporter.findings });
    };
    let mut events = Events { next: 0, links: vec![log.origin().genesis()], last: None, read: 0, streams: Streams::default() };
    while events.next < head.size {
        events.page(log, head.size, &mut reporter).await?;
        progress(events.next, head.size);
    }
    events.against(&head, log, &mut reporter).await?;
    keys::check(log, &head, &mut events.streams, &mut reporter).await?;
    Ok(Summary {
        events: events.read,
        head: events.last.as_ref().map(|last| last.position),
        chain_hash: events.last.map_or_else(|| log.origin().genesis(), |last| last.chain_hash),
        findings: reporter.findings,
        log: reporter.log,
    })
}

struct Reporter<'a> {
    log: LogName,
    findings: u64,
    report: &'a mut (dyn FnMut(Finding) + Send),
}

impl Reporter<'_> {
    fn add(&mut self, position: impl Into<Option<Position>>, kind: Kind, detail: impl Into<String>) {
        self.findings += 1;
        (self.report)(Finding { log: self.log.clone(), position: position.into(), kind, detail: detail.into() });
    }
}

async fn read_head(log: &dyn Log, reporter: &mut Reporter<'_>) -> Result<Option<Head>, Error> {
    match log.head().await {
        Ok(head) => Ok(Some(head)),
        Err(Error::Corrupt(what)) => {
            reporter.add(None, Kind::Head, what);
            Ok(None)
        }
        Err(failed) => Err(failed),
    }
}

/// The events, as far as they were read.
struct Events {
    /// The next position to be read.
    next: u64,
    /// What the next chain hash may build on: the chain hash before it as stored and, if they differ, as computed. Empty when
    /// the event before could not be read.
    links: Vec<Hash>,
    last: Option<Recorded>,
    read: u64,
    streams: Streams,
}

impl Events {
    /// Reads and checks the next events of a log of `size`.
    async fn page(&mut self, log: &dyn Log, size: u64, reporter: &mut Reporter<'_>) -> Result<(), Error> {
        let query = Query { to: Some(Position(size - 1)), ..Query::from(Position(self.next), PAGE) };
        match log.read(&query).await {
            Ok(page) => {
                let full = page.len() == PAGE;
                page.into_iter().for_each(|event| self.event(event, reporter));
                if !full {
                    self.gap(size, reporter);
                }
            }
            // One row of the page is no event: they are read one by one to name it.
            Err(Error::Corrupt(_)) => {
                let end = size.min(self.next + PAGE as u64);
                for position in (self.next..end).map(Position) {
                    match log.read_at(&[position]).await {
                        Ok(events) => events.into_iter().for_each(|event| self.event(event, reporter)),
                        Err(Error::Corrupt(what)) => self.unreadable(position, what, reporter),
                        Err(failed) => return Err(failed),
                    }
                }
                self.gap(end, reporter);
            }
            Err(failed) => return Err(failed),
        }
        Ok(())
    }

    /// Says which positions are missing before `found`.
    fn gap(&mut self, found: u64, reporter: &mut Reporter<'_>) {
        if self.next < found {
            let detail = match found - self.next {
                1 => "no event stands here".to_owned(),
                missing => format!("no event stands here nor at the {} positions after", missing - 1),
            };
            reporter.add(Position(self.next), Kind::Gap, detail);
            self.links.clear();
            self.next = found;
        }
    }

    fn unreadable(&mut self, position: Position, what: String, reporter: &mut Reporter<'_>) {
        self.gap(position.0, reporter);
        reporter.add(position, Kind::Encoding, what);
        self.links.clear();
        self.next = position.0 + 1;
        self.read += 1;
    }

    fn event(&mut self, event: Recorded, reporter: &mut Reporter<'_>) {
        self.gap(event.position.0, reporter);
        self.hashes(&event, reporter);
        for (what, bytes) in [("metadata", &event.metadata), ("payload", &event.payload)] {
            if let Err(wrong) = codec::check(bytes) {
                reporter.add(event.position, Kind::Encoding, format!("{what}: {wrong}"));
            }
        }
        if let Err(expected) = self.streams.follow(&event) {
            reporter.add(event.position, Kind::Version, wrong_version(&event.stream, expected, event.version));
        }
        if let Err(malformed) = self.streams.claim(&event) {
            reporter.add(event.position, Kind::Encoding, format!("payload: {malformed}"));
        }
        self.next = event.position.0 + 1;
        self.read += 1;
        self.last = Some(event);
    }

    fn hashes(&mut self, event: &Recorded, reporter: &mut Reporter<'_>) {
        let computed = chain::event_hash(&event.content());
        if computed != event.event_hash {
            reporter.add(event.position, Kind::EventHash, format!("the content hashes to {computed}, stored is {}", event.event_hash));
        }
        // With a wrong event hash stored, the chain may hold over the right one: that is one damage, not two.
        let follows: Vec<Hash> =
            self.links.iter().flat_map(|link| [event.event_hash, computed].map(|hash| chain::chain_hash(*link, hash))).collect();
        let expected = follows.first().copied().unwrap_or(event.chain_hash);
        self.links = vec![event.chain_hash];
        if !follows.is_empty() && !follows.contains(&event.chain_hash) {
            reporter.add(
                event.position,
                Kind::ChainHash,
                format!("{expected} follows from the event before, stored is {}", event.chain_hash),
            );
            self.links.push(expected);
        }
    }

    /// Compares the head row with the last event before it, and looks for events beyond it.
    async fn against(&self, head: &Head, log: &dyn Log, reporter: &mut Reporter<'_>) -> Result<(), Error> {
        let (size, chain_hash, recorded_at) = match &self.last {
            Some(last) => (last.position.0 + 1, last.chain_hash, last.recorded_at),
            None => (0, log.origin().genesis(), crate::Timestamp::EPOCH),
        };
        if head.size != size {
            reporter.add(head.last(), Kind::Head, format!("the head says {} events, the last that can be read is the {size}th", head.size));
            return Ok(());
        }
        if head.chain_hash != chain_hash {
            reporter.add(head.last(), Kind::Head, format!("the head's chain hash is {}, the last event's {chain_hash}", head.chain_hash));
        }
        if head.recorded_at != recorded_at {
            reporter.add(head.last(), Kind::Head, format!("the head's time is {}, the last event's {recorded_at}", head.recorded_at));
        }
        let beyond = Position(head.size);
        let event_beyond = match log.read_at(&[beyond]).await {
            Ok(events) => !events.is_empty(),
            Err(Error::Corrupt(_)) => true,
            Err(failed) => return Err(failed),
        };
        // It may have been appended since; then the head has moved, too.
        if event_beyond && log.head().await?.size == head.size {
            reporter.add(beyond, Kind::Head, format!("an event stands beyond the head, which says {} events", head.size));
        }
        Ok(())
    }
}

fn wrong_version(stream: &Stream, expected: Version, found: Version) -> String {
    format!("{stream} is at version {found}, expected {expected}")
}

#[cfg(test)]
mod tests;

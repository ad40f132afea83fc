//! Is what serves what the log says? Builds a generation that never serves, and compares both row by row.
//!
//! The two are compared in snapshots at the same position, while the serving one moves on, in as much memory as two pages of
//! rows take. Nothing is repaired: that is what a [`crate::rebuild`] does.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;

use credence_ledger::Position;

use crate::generation::{Place, Snapshot, Stage};
use crate::projection::{self, Cursor, Projection};
use crate::projector::Projector;
use crate::read_store::Phase;
use crate::rebuild::{self, Error, Job, Options, Together};
use crate::table::{self, Row, Table};

/// Rows fetched at a time.
const PAGE: usize = 1024;

/// Something in the serving model that is not what the log says. Shown as
/// `<projection> <table> <key> <column>: expected …, found …`; for a row that is missing or should not be there the column is
/// `row`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of which projection.
    pub projection: Projection,
    /// In which table.
    pub table: &'static str,
    /// Which row: its id where it has one, else its position.
    pub key: String,
    /// Which column, or `row`.
    pub column: &'static str,
    /// What the log says.
    pub expected: String,
    /// What stands there.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { projection, table, key, column, expected, found } = self;
        write!(f, "{projection} {table} {key} {column}: expected {expected}, found {found}")
    }
}

/// What was compared. Shown as `3 rows at ledger@2, ok`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Of which projection.
    pub projection: Projection,
    /// Where what serves stands, and both were compared.
    pub position: Option<Position>,
    /// Rows that the log says there are; none were compared with what tells of another log.
    pub rows: u64,
    /// Differences told.
    pub differences: u64,
    /// Why what serves will not move on from where it stands, whatever its rows say: it was stopped, or tells of another log.
    pub stopped: Option<String>,
}

impl Checked {
    /// Whether what serves is what the log says, and goes on being so.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.differences == 0 && self.stopped.is_none()
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows at ", self.rows)?;
        match self.position {
            Some(position) => write!(f, "{}", self.projection.log().at(position))?,
            None => f.write_str("the beginning")?,
        }
        if self.is_ok() {
            return f.write_str(", ok");
        }
        if self.differences > 0 {
            write!(f, ", {} differences", self.differences)?;
        }
        self.stopped.iter().try_for_each(|reason| write!(f, ", stopped there: {reason}"))
    }
}

/// Compares the serving generation with the log and tells every difference, in the order of tables and positions. No rebuild of
/// the projection runs meanwhile.
///
/// # Errors
/// [`Error::Running`] when a rebuild runs, [`Error::Interrupted`] when it was told to end early, [`projection::Error::Vanished`] when
/// nothing serves, or a store fails.
pub async fn check(projector: Projector, options: Options, mut tell: impl FnMut(Difference) + Send) -> Result<Checked, Error> {
    let (projection, store) = (projector.projection, projector.store.clone());
    let lock = rebuild::lock(&projector).await?;
    let pointer = store.pointer(projection).await?.ok_or(projection::Error::Vanished(projection))?;
    discard_temporary(&projector).await?;
    let generation = store.create(projection, Stage::Temporary, projector.log.origin().genesis()).await?;
    let mut job = Job::new(projector.clone(), options, Some(pointer), &generation, lock);
    let checked = compare(&mut job, projection, &mut tell).await;
    discard_temporary(&projector).await?;
    job.release().await;
    checked
}

/// Throws away what checks have built, and nothing else: generations of other versions are not among those that are listed, and
/// one of them may serve.
async fn discard_temporary(projector: &Projector) -> Result<(), Error> {
    let generations = projector.store.generations(projector.projection).await?;
    let temporary = generations.iter().filter(|generation| generation.stage == Stage::Temporary);
    let temporary: Vec<u64> = temporary.map(|generation| generation.cursor.generation).collect();
    Ok(projector.store.discard(projector.projection, &temporary).await?)
}

async fn compare(job: &mut Job, projection: Projection, tell: &mut (dyn FnMut(Difference) + Send)) -> Result<Checked, Error> {
    job.phase(Phase::Building).await?;
    job.bring_up().await?;
    job.phase(Phase::Comparing).await?;
    let (old, new) = match job.at_one_position().await? {
        Together::Snapshots { old, new } => (old, new),
        Together::Alone => return Err(projection::Error::Vanished(projection).into()),
        Together::OtherLog(Place { position, .. }) => {
            let stopped = Some("it tells of another log, or of more than the log holds".to_owned());
            return Ok(Checked { projection, position, rows: 0, differences: 0, stopped });
        }
    };
    let Cursor { position, unhealthy, .. } = old.generation().cursor.clone();
    let mut checked = Checked { projection, position, rows: 0, differences: 0, stopped: unhealthy };
    let (mut old, mut new) = (old, new);
    for table in table::of(projection) {
        let (mut expected, mut found) = (Pages::of(new.as_mut(), table), Pages::of(old.as_mut(), table));
        while let Some(pair) = next_pair(&mut expected, &mut found).await? {
            job.may_go_on()?;
            checked.rows += u64::from(!matches!(pair, Pair::Extra(_)));
            for difference in pair.differences(projection, table) {
                checked.differences += 1;
                tell(difference);
            }
        }
    }
    job.phase(Phase::Done).await?;
    Ok(checked)
}

/// Rows of one table of one snapshot, in position order.
struct Pages<'a> {
    snapshot: &'a mut dyn Snapshot,
    table: &'static Table,
    page: VecDeque<Row>,
    after: Option<Position>,
    is_last: bool,
}

impl<'a> Pages<'a> {
    fn of(snapshot: &'a mut dyn Snapshot, table: &'static Table) -> Pages<'a> {
        Pages { snapshot, table, page: VecDeque::new(), after: None, is_last: false }
    }

    /// The position of the next row; `None` at the end.
    async fn peek(&mut self) -> Result<Option<Position>, Error> {
        if self.page.is_empty() && !self.is_last {
            let rows = self.snapshot.rows(self.table, self.after, PAGE).await?;
            self.is_last = rows.len() < PAGE;
            self.after = rows.last().map(Row::position);
            self.page = rows.into();
        }
        Ok(self.page.front().map(Row::position))
    }
}

/// What stands at one position.
enum Pair {
    Both(Row, Row),
    Missing(Row),
    Extra(Row),
}

async fn next_pair(expected: &mut Pages<'_>, found: &mut Pages<'_>) -> Result<Option<Pair>, Error> {
    let order = match (expected.peek().await?, found.peek().await?) {
        (None, None) => return Ok(None),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(expected), Some(found)) => expected.cmp(&found),
    };
    Ok(match order {
        Ordering::Less => expected.page.pop_front().map(Pair::Missing),
        Ordering::Greater => found.page.pop_front().map(Pair::Extra),
        Ordering::Equal => expected.page.pop_front().zip(found.page.pop_front()).map(|(expected, found)| Pair::Both(expected, found)),
    })
}

impl Pair {
    fn differences(&self, projection: Projection, table: &'static Table) -> Vec<Difference> {
        let difference = |row: &Row, column: &'static str, expected: String, found: String| {
            let key = row.name(table, &projection.log());
            Difference { projection, table: table.name, key, column, expected, found }
        };
        let (present, absent) = ("present".to_owned(), "absent".to_owned());
        match self {
            Pair::Missing(row) => vec![difference(row, "row", present, absent)],
            Pair::Extra(row) => vec![difference(row, "row", absent, present)],
            Pair::Both(expected, found) => table
                .columns
                .iter()
                .zip(expected.0.iter().zip(&found.0))
                .filter(|(_, (should, is))| should != is)
                .map(|(column, (should, is))| difference(expected, column.name, should.to_string(), is.to_string()))
                .collect(),
        }
    }
}

//! A walk over the events that a query wants: a log of any length passes through bounded memory, a page at a time.

use super::{Log, Query};
use crate::Position;
use crate::event::Recorded;
use crate::store::Error;

/// Every event that is wanted comes once, in position order, and so does what is appended before the walk has come to its end.
pub struct Walk<'a> {
    log: &'a dyn Log,
    /// What is asked for next; `None` at the end.
    rest: Option<Query>,
}

impl Walk<'_> {
    /// In pages of the query's limit.
    #[must_use]
    pub fn over(log: &dyn Log, query: Query) -> Walk<'_> {
        Walk { log, rest: Some(query) }
    }

    /// The next page, which is not empty; `None` at the end, from then on.
    ///
    /// # Errors
    /// The log's. The same page comes next then.
    pub async fn page(&mut self) -> Result<Option<Vec<Recorded>>, Error> {
        let Some(query) = &mut self.rest else { return Ok(None) };
        let page = self.log.read(query).await?;
        match page.last().map(|last| last.position) {
            Some(last) if page.len() == query.limit && query.to.is_none_or(|to| last < to) => query.from = last.next(),
            _ => self.rest = None,
        }
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    /// Where it goes on; `None` at the end.
    #[must_use]
    pub fn next_position(&self) -> Option<Position> {
        self.rest.as_ref().map(|query| query.from)
    }
}

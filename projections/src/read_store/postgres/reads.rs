//! Serving reads: one statement each, which answers the rows and the cursor of one snapshot.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use credence_ledger::store::postgres::Kept;
use credence_ledger::{Position, Timestamp, store};
use sqlx::Arguments as _;
use sqlx::postgres::{PgArguments, PgRow};
use tokio::sync::Notify;
use uuid::Uuid;

use super::statements as sql;
use super::{Postgres, error};
use crate::generation::Pointer;
use crate::projection::{Cursor, Error, Projection};
use crate::read_store::{ReadStore, Rebuild, Standing, moment, stored_state};
use crate::table;
use crate::verification::{At, Credential, Filter, Found, Lookup, OfSubject, State};

/// How often a reader follows the pointer before it gives up: a generation is replaced far more seldom than it is read.
const FOLLOWS_MAX: usize = 3;

impl Postgres {
    /// Runs a reading statement on the serving generation. If that turns out to have been replaced, the pointer is followed.
    async fn read(&self, projection: Projection, statement: &str, arguments: &PgArguments) -> Result<Vec<PgRow>, Error> {
        self.read_by(&self.readers, projection, statement, arguments).await
    }

    async fn read_by(
        &self,
        sessions: &Kept,
        projection: Projection,
        statement: &str,
        arguments: &PgArguments,
    ) -> Result<Vec<PgRow>, Error> {
        for _ in 0..FOLLOWS_MAX {
            let pointer = self.serving(projection).await?;
            match sessions.fetch(|| sqlx::query_with(sql::at(statement, pointer.generation), arguments.clone())).await {
                Ok(rows) if !rows.is_empty() => return Ok(rows),
                Ok(_) => self.know(projection, None),
                Err(failed) => match error(projection, failed) {
                    Error::Vanished(_) => self.know(projection, None),
                    other => return Err(other),
                },
            }
        }
        Err(Error::Vanished(projection))
    }

    async fn serving(&self, projection: Projection) -> Result<Pointer, Error> {
        if let Some(pointer) = self.known(projection) {
            return Ok(pointer);
        }
        let pointer = self.followed.ask(projection).await.map_err(|refused| store::Error::Unavailable(refused.into()))??;
        self.know(projection, pointer);
        pointer.ok_or(Error::Vanished(projection))
    }
}

/// What serves each of these projections, if its tables are there.
pub(super) async fn follow(readers: Arc<Kept>, asked: Vec<Projection>) -> Vec<Result<Option<Pointer>, Error>> {
    let mut found = HashMap::new();
    for projection in asked.iter().copied().collect::<BTreeSet<_>>() {
        let row = select_cursor(&readers, projection).await;
        let pointer = row.and_then(|row| row.as_ref().map(sql::pointer).transpose().map_err(|failed| error(projection, failed)));
        // Another version's tables cannot be read by this program's statements.
        found.insert(projection, pointer.map(|pointer| pointer.filter(|pointer| pointer.version == projection.version())));
    }
    asked.iter().filter_map(|projection| found.get(projection).cloned()).collect()
}

/// The serving generation's cursor, if its tables are there.
async fn select_cursor(readers: &Kept, projection: Projection) -> Result<Option<PgRow>, Error> {
    let names: Vec<&str> = table::of(projection).iter().map(|table| table.name).collect();
    match readers.fetch(|| sql::select_cursor(projection, &names)).await {
        Ok(mut rows) => Ok(rows.pop()),
        Err(failed) => match error(projection, failed) {
            Error::Vanished(_) => Ok(None),
            other => Err(other),
        },
    }
}

/// The arguments of a statement, in order.
macro_rules! arguments {
    ($($value:expr),+ $(,)?) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($value).map_err(|failed| Error::from(store::Error::Failed(failed)))?;)+
        arguments
    }};
}

/// What is found, and the cursor. Where nothing is, one row tells the cursor alone.
fn all<T>(
    projection: Projection,
    rows: &[PgRow],
    found: impl Fn(&PgRow) -> Result<Option<T>, sqlx::Error>,
) -> Result<(Vec<T>, Cursor), Error> {
    let found = rows.iter().filter_map(|row| found(row).transpose()).collect::<Result<_, _>>();
    Ok((found.map_err(|failed| error(projection, failed))?, first_cursor(projection, rows)?))
}

fn first_cursor(projection: Projection, rows: &[PgRow]) -> Result<Cursor, Error> {
    let row = rows.first().ok_or(Error::Vanished(projection))?;
    sql::cursor(projection, row).map(|(cursor, _)| cursor).map_err(|failed| error(projection, failed))
}

fn stored(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl ReadStore for Postgres {
    async fn cursor(&self, projection: Projection) -> Result<Cursor, Error> {
        let row = select_cursor(&self.readers, projection).await?.ok_or(Error::Vanished(projection))?;
        let failed = |failed| error(projection, failed);
        let (pointer, (cursor, _)) = (sql::pointer(&row).map_err(failed)?, sql::cursor(projection, &row).map_err(failed)?);
        if pointer.version == projection.version() { Ok(cursor) } else { Err(Error::Vanished(projection)) }
    }

    async fn find(&self, lookup: &Lookup, at: At) -> Result<(Option<Found>, Cursor), Error> {
        let (newest, time, position) = moment(at);
        let projection = Projection::Verification;
        let (statement, arguments) = match lookup {
            Lookup::Id(id) => (sql::FIND_BY_ID, arguments!(*id, newest, time, position)),
            Lookup::Document(digest) => (sql::FIND_BY_DOCUMENT, arguments!(digest.as_slice(), newest, time, position)),
            Lookup::Secret { digest, issuer } => {
                let (name, id) = issuer.parts();
                let arguments = arguments!(digest.as_slice(), newest, time, position, name, id);
                // A secret has no subject: nothing of it is ever erased.
                let (mut found, cursor) = all(projection, &self.read(projection, sql::FIND_BY_SECRET, &arguments).await?, sql::credential)?;
                return Ok((found.pop().map(Found::Credential), cursor));
            }
        };
        let rows = self.read(projection, statement, &arguments).await?;
        let row = rows.first().ok_or(Error::Vanished(projection))?;
        Ok((sql::found(row).map_err(|failed| error(projection, failed))?, first_cursor(projection, &rows)?))
    }

    async fn find_by_ids(&self, ids: &[Uuid]) -> Result<(Vec<Option<Found>>, Cursor), Error> {
        let projection = Projection::Verification;
        if ids.is_empty() {
            return Ok((Vec::new(), self.cursor(projection).await?));
        }
        let rows = self.read(projection, sql::FIND_BY_IDS, &arguments!(ids)).await?;
        let found: Result<Vec<_>, _> = rows.iter().map(sql::found).collect();
        Ok((found.map_err(|failed| error(projection, failed))?, first_cursor(projection, &rows)?))
    }

    async fn credentials_of(&self, subjects: &[Uuid], from: Position, limit: usize) -> Result<(Vec<OfSubject>, Cursor), Error> {
        let projection = Projection::Verification;
        let rows = self.read(projection, sql::CREDENTIALS_OF, &arguments!(subjects, from.0.cast_signed(), stored(limit))).await?;
        all(projection, &rows, sql::of_subject)
    }

    async fn list(&self, filter: &Filter) -> Result<(Vec<Credential>, Cursor), Error> {
        let projection = Projection::Verification;
        let status = filter.status.map(|(status, now)| (status.as_str(), now.as_micros_i64()));
        let state = filter.status.and_then(|(status, _)| stored_state(status));
        let arguments = arguments!(
            filter.issuer,
            filter.credential_type.as_deref(),
            filter.subjects.as_deref(),
            status.map(|(status, _)| status),
            status.map(|(_, now)| now),
            filter.before.map_or(i64::MAX, |before| before.0.cast_signed()),
            stored(filter.limit),
            state.map(State::code),
        );
        all(projection, &self.read_by(&self.listers, projection, sql::LIST, &arguments).await?, sql::credential)
    }

    async fn verifications(&self, credential: Uuid, from: Position, limit: usize) -> Result<(Vec<Position>, Cursor), Error> {
        let projection = Projection::History;
        let arguments = arguments!(credential, from.0.cast_signed(), stored(limit));
        let rows = self.read(projection, sql::LIST_VERIFICATIONS, &arguments).await?;
        all(projection, &rows, |row| sql::position(row, 7))
    }

    async fn decided_by(&self, credential: Uuid, at: At) -> Result<(Option<Position>, Cursor), Error> {
        let projection = Projection::Verification;
        let (_, time, position) = moment(at);
        let rows = self.read(projection, sql::DECIDED_BY, &arguments!(credential, time, position)).await?;
        let row = rows.first().ok_or(Error::Vanished(projection))?;
        Ok((sql::position(row, 7).map_err(|failed| error(projection, failed))?, first_cursor(projection, &rows)?))
    }

    async fn position_at(&self, time: Timestamp) -> Result<(Option<Position>, Cursor), Error> {
        let projection = Projection::Verification;
        let rows = self.read(projection, sql::POSITION_AT, &arguments!(time.as_micros_i64())).await?;
        let cursor = first_cursor(projection, &rows)?;
        let row = rows.first().ok_or(Error::Vanished(projection))?;
        let position = match sql::position(row, 7).map_err(|failed| error(projection, failed))? {
            Some(after) => after.0.checked_sub(1).map(Position),
            None => cursor.position,
        };
        Ok((position, cursor))
    }

    async fn standings(&self) -> Result<Vec<Standing>, Error> {
        let mut standings = Vec::new();
        for projection in Projection::ALL {
            let Some(row) = select_cursor(&self.readers, projection).await? else { continue };
            let failed = |failed| error(projection, failed);
            let (cursor, _) = sql::cursor(projection, &row).map_err(failed)?;
            let version = sql::pointer(&row).map_err(failed)?.version;
            standings.push(Standing { cursor, version, digest: sql::digest(&row).map_err(failed)? });
        }
        Ok(standings)
    }

    async fn rebuild(&self, id: Uuid) -> Result<Option<Rebuild>, Error> {
        let rows = match self.readers.fetch(|| sqlx::query(sql::SELECT_REBUILD).bind(id)).await.map_err(store::postgres::error) {
            Err(store::Error::NotMigrated) => return Ok(None),
            rows => rows?,
        };
        let rebuild = rows.first().map(sql::rebuild).transpose();
        Ok(rebuild.map_err(|failed| store::Error::Corrupt(failed.to_string()))?)
    }

    async fn ping(&self) -> Result<(), Error> {
        self.readers.fetch(|| sqlx::query(sql::IS_ALIVE)).await.map_err(store::postgres::error)?;
        Ok(())
    }

    fn moved(&self) -> &Notify {
        &self.moved
    }
}

//! Serving reads: one statement each, which answers the rows and the cursor of one snapshot.

use async_trait::async_trait;
use credence_ledger::store::postgres::bounded;
use credence_ledger::{Position, Timestamp, store};
use sqlx::Arguments as _;
use sqlx::postgres::{PgArguments, PgRow};
use tokio::sync::Notify;
use uuid::Uuid;

use super::statements as sql;
use super::{Postgres, error};
use crate::generation::{Pointer, Store};
use crate::projection::{Cursor, Error, Projection};
use crate::read_store::{ReadStore, Rebuild, Standing, moment, stored_state};
use crate::table::{self, Table};
use crate::verification::{At, Credential, Filter, Found, Lookup, OfSubject, State};

/// How often a reader follows the pointer before it gives up: a generation is replaced far more seldom than it is read.
const FOLLOWS_MAX: usize = 3;

impl Postgres {
    /// Runs a reading statement on the serving generation. If that turns out to have been replaced, the pointer is followed.
    async fn read(&self, projection: Projection, statement: &str, arguments: &PgArguments) -> Result<Vec<PgRow>, Error> {
        for _ in 0..FOLLOWS_MAX {
            let pointer = self.serving(projection).await?;
            match self.readers.fetch(|| sqlx::query_with(sql::at(statement, pointer.generation), arguments.clone())).await {
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
        // Another version's tables cannot be read by this program's statements.
        let pointer = self.pointer(projection).await?.filter(|pointer| pointer.version == projection.version());
        self.know(projection, pointer);
        pointer.ok_or(Error::Vanished(projection))
    }

    /// The serving generation's cursor, if these of its tables are there.
    pub(super) async fn select_cursor(&self, projection: Projection, tables: &[&Table]) -> Result<Option<PgRow>, Error> {
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        let query = sqlx::query(sql::SELECT_CURSOR).bind(projection.as_str()).bind(names);
        match bounded(query.fetch_optional(&self.pool)).await {
            Ok(row) => Ok(row),
            Err(store::Error::NotMigrated) => Ok(None),
            Err(other) => Err(other.into()),
        }
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

fn credentials(rows: &[PgRow]) -> Result<(Vec<Credential>, Cursor), Error> {
    let projection = Projection::Verification;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.extend(sql::credential(row).map_err(|failed| error(projection, failed))?);
    }
    Ok((found, first_cursor(projection, rows)?))
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
        let row = self.select_cursor(projection, table::of(projection)).await?.ok_or(Error::Vanished(projection))?;
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
                let (mut found, cursor) = credentials(&self.read(projection, sql::FIND_BY_SECRET, &arguments).await?)?;
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
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.extend(sql::of_subject(row).map_err(|failed| error(projection, failed))?);
        }
        Ok((found, first_cursor(projection, &rows)?))
    }

    async fn list(&self, filter: &Filter) -> Result<(Vec<Credential>, Cursor), Error> {
        let status = filter.status.map(|(status, now)| (status.as_str(), now.as_micros_i64()));
        let state = filter.status.and_then(|(status, _)| stored_state(status));
        let statement = match (&filter.subjects, state, &filter.credential_type, filter.issuer) {
            (Some(_), ..) => sql::LIST_OF_SUBJECTS,
            (None, Some(_), ..) => sql::LIST_OF_STATE,
            (None, None, Some(_), _) => sql::LIST_OF_TYPE,
            (None, None, None, Some(_)) => sql::LIST_OF_ISSUER,
            (None, None, None, None) => sql::LIST,
        };
        let mut arguments = arguments!(
            filter.issuer,
            filter.credential_type.as_deref(),
            filter.subjects.as_deref(),
            status.map(|(status, _)| status),
            status.map(|(_, now)| now),
            filter.before.map_or(i64::MAX, |before| before.0.cast_signed()),
            stored(filter.limit),
        );
        if statement == sql::LIST_OF_STATE {
            arguments.add(state.map(State::code)).map_err(|failed| Error::from(store::Error::Failed(failed)))?;
        }
        credentials(&self.read(Projection::Verification, statement, &arguments).await?)
    }

    async fn verifications(&self, credential: Uuid, from: Position, limit: usize) -> Result<(Vec<Position>, Cursor), Error> {
        let projection = Projection::History;
        let arguments = arguments!(credential, from.0.cast_signed(), stored(limit));
        let rows = self.read(projection, sql::LIST_VERIFICATIONS, &arguments).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            found.extend(sql::position(row, 7).map_err(|failed| error(projection, failed))?);
        }
        Ok((found, first_cursor(projection, &rows)?))
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
            let Some(row) = self.select_cursor(projection, table::of(projection)).await? else { continue };
            let failed = |failed| error(projection, failed);
            let (cursor, _) = sql::cursor(projection, &row).map_err(failed)?;
            let version = sql::pointer(&row).map_err(failed)?.version;
            standings.push(Standing { cursor, version, digest: sql::digest(&row).map_err(failed)? });
        }
        Ok(standings)
    }

    async fn rebuild(&self, id: Uuid) -> Result<Option<Rebuild>, Error> {
        match bounded(sqlx::query(sql::SELECT_REBUILD).bind(id).fetch_optional(&self.pool)).await {
            Ok(None) | Err(store::Error::NotMigrated) => Ok(None),
            Ok(Some(row)) => Ok(Some(sql::rebuild(&row).map_err(|failed| store::Error::Corrupt(failed.to_string()))?)),
            Err(other) => Err(other.into()),
        }
    }

    async fn ping(&self) -> Result<(), Error> {
        bounded(sqlx::query(sql::IS_ALIVE).execute(&self.pool)).await?;
        Ok(())
    }

    fn moved(&self) -> &Notify {
        &self.moved
    }
}

//! Serving reads: one statement each, which answers the rows and the cursor of one snapshot.

use std::collections::HashMap;

use async_trait::async_trait;
use credence_ledger::{Position, Timestamp};
use rusqlite::{Connection, Row, Rows, params};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Sqlite;
use super::statements as sql;
use crate::digest::DigestAt;
use crate::generation::{Pointer, Stage};
use crate::projection::{Cursor, Error, Projection};
use crate::read_store::{ReadStore, Rebuild, Standing, moment, stored_state};
use crate::verification::{At, Credential, Filter, Found, Lookup, OfSubject, State};
use credence_ledger::store;

/// How often a reader follows the pointer before it gives up: a generation is replaced far more seldom than it is read.
const FOLLOWS_MAX: usize = 3;

/// What the pointers' table holds of a projection: the pointer, and the digest at the last rebuild with its position.
pub(super) type Pointed = (Pointer, Option<DigestAt>);

impl Sqlite {
    /// Runs a reading statement on the serving generation. If that turns out to have been replaced, the pointer is followed.
    async fn read<T, F>(&self, projection: Projection, read: F) -> Result<T, Error>
    where
        F: Fn(&Connection) -> rusqlite::Result<(T, Stage)> + Clone + Send + 'static,
        T: Send + 'static,
    {
        for _ in 0..FOLLOWS_MAX {
            let serving = self.serving(projection).await?;
            let read = read.clone();
            match serving.readers.next().call(move |connection| read(connection)).await {
                Ok(Ok((_, Stage::Retired))) => self.refresh().await?,
                Ok(Ok((answer, _))) => return Ok(answer),
                Ok(Err(failed)) => return Err(error(projection, failed)),
                Err(closed) => return Err(store::Error::Failed(closed.into()).into()),
            }
        }
        Err(Error::Vanished(projection))
    }

    pub(super) async fn read_pointers(&self) -> Result<HashMap<Projection, Pointed>, store::Error> {
        let Some(connection) = self.pointers().await? else { return Ok(HashMap::new()) };
        let read = |connection: &mut Connection| -> rusqlite::Result<HashMap<Projection, Pointed>> {
            let mut statement = connection.prepare_cached(sql::SELECT_SERVING)?;
            let rows = statement.query_map([], |row| {
                let projection = row.get_ref(0)?.as_str()?.parse().ok();
                let pointer = Pointer { generation: sql::unsigned(row, 1)?, version: row.get(2)? };
                let digest = row.get::<_, Option<[u8; 32]>>(3)?;
                let digest = match digest {
                    Some(digest) => Some((digest, sql::position(row, 4)?)),
                    None => None,
                };
                // A projection that a newer program has added is none of ours.
                Ok(projection.map(|projection| (projection, (pointer, digest))))
            })?;
            rows.filter_map(Result::transpose).collect()
        };
        match connection.call(read).await {
            Ok(Ok(pointers)) => Ok(pointers),
            // The file is there but its maker has not come to its tables yet.
            Ok(Err(failed)) if is_missing_table(&failed) => Ok(HashMap::new()),
            Ok(Err(failed)) => Err(store::sqlite::error(failed)),
            Err(closed) => Err(store::Error::Failed(closed.into())),
        }
    }
}

pub(super) fn is_missing_table(failed: &rusqlite::Error) -> bool {
    failed.to_string().contains("no such table")
}

/// What an error of a generation's file means. A file without the tables is no generation (any more).
pub(super) fn error(projection: Projection, failed: rusqlite::Error) -> Error {
    if is_missing_table(&failed) || matches!(failed, rusqlite::Error::QueryReturnedNoRows) {
        return Error::Vanished(projection);
    }
    match failed {
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..) => {
            store::Error::Corrupt(format!("{projection}: {failed}")).into()
        }
        failed => store::sqlite::error(failed).into(),
    }
}

/// What is found, and the cursor. Where nothing is, one row tells the cursor alone.
fn all<T>(
    projection: Projection,
    mut rows: Rows<'_>,
    found: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<((Vec<T>, Cursor), Stage)> {
    let (mut all, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        last = Some(sql::cursor(projection, row)?);
        all.extend(found(row)?);
    }
    let (cursor, stage) = last.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(((all, cursor), stage))
}

#[async_trait]
impl ReadStore for Sqlite {
    async fn cursor(&self, projection: Projection) -> Result<Cursor, Error> {
        self.read(projection, move |connection| {
            connection.prepare_cached(sql::SELECT_CURSOR)?.query_row([], |row| sql::cursor(projection, row))
        })
        .await
    }

    async fn find(&self, lookup: &Lookup, at: At) -> Result<(Option<Found>, Cursor), Error> {
        let (newest, time, position) = moment(at);
        let lookup = lookup.clone();
        self.read(Projection::Verification, move |connection| {
            let answer = |row: &Row<'_>| {
                let (cursor, stage) = sql::cursor(Projection::Verification, row)?;
                Ok(((sql::found(row)?, cursor), stage))
            };
            match &lookup {
                Lookup::Id(id) => {
                    connection.prepare_cached(sql::FIND_BY_ID)?.query_row(params![id.as_bytes(), newest, time, position], answer)
                }
                Lookup::Document(digest) => {
                    connection.prepare_cached(sql::FIND_BY_DOCUMENT)?.query_row(params![digest, newest, time, position], answer)
                }
                Lookup::Secret { digest, issuer } => {
                    let (name, id) = issuer.parts();
                    let params = params![digest, newest, time, position, name, id.as_ref().map(Uuid::as_bytes)];
                    connection.prepare_cached(sql::FIND_BY_SECRET)?.query_row(params, |row| {
                        let (cursor, stage) = sql::cursor(Projection::Verification, row)?;
                        // A secret has no subject: nothing of it is ever erased.
                        Ok(((sql::credential(row)?.map(Found::Credential), cursor), stage))
                    })
                }
            }
        })
        .await
    }

    async fn find_by_ids(&self, ids: &[Uuid]) -> Result<(Vec<Option<Found>>, Cursor), Error> {
        let projection = Projection::Verification;
        let ids = ids.to_vec();
        self.read(projection, move |connection| {
            // One snapshot for all of them.
            let snapshot = connection.unchecked_transaction()?;
            let (cursor, stage) = snapshot.prepare_cached(sql::SELECT_CURSOR)?.query_row([], |row| sql::cursor(projection, row))?;
            let mut find = snapshot.prepare_cached(sql::FIND_BY_ID)?;
            let newest = |id: &Uuid| find.query_row(params![id.as_bytes(), true, i64::MAX, i64::MAX], sql::found);
            let found = ids.iter().map(newest).collect::<rusqlite::Result<_>>()?;
            Ok(((found, cursor), stage))
        })
        .await
    }

    async fn credentials_of(&self, subjects: &[Uuid], from: Position, limit: usize) -> Result<(Vec<OfSubject>, Cursor), Error> {
        let subjects = hex_array(subjects);
        self.read(Projection::Verification, move |connection| {
            let mut statement = connection.prepare_cached(sql::CREDENTIALS_OF)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query(params![subjects, from.0.cast_signed(), limit])?;
            all(Projection::Verification, rows, sql::of_subject)
        })
        .await
    }

    async fn list(&self, filter: &Filter) -> Result<(Vec<Credential>, Cursor), Error> {
        let filter = filter.clone();
        self.read(Projection::Verification, move |connection| {
            let subjects = filter.subjects.as_deref().map(hex_array);
            let status = filter.status.map(|(status, now)| (status.as_str(), now.as_micros_i64()));
            let state = filter.status.and_then(|(status, _)| stored_state(status));
            let statement = match (&filter.subjects, state, &filter.credential_type, filter.issuer) {
                (Some(_), ..) => sql::LIST_OF_SUBJECTS,
                (None, Some(_), ..) => sql::LIST_OF_STATE,
                (None, None, Some(_), _) => sql::LIST_OF_TYPE,
                (None, None, None, Some(_)) => sql::LIST_OF_ISSUER,
                (None, None, None, None) => sql::LIST,
            };
            let mut statement = connection.prepare_cached(statement)?;
            statement.raw_bind_parameter(1, filter.issuer.as_ref().map(|issuer| issuer.as_bytes().as_slice()))?;
            statement.raw_bind_parameter(2, &filter.credential_type)?;
            statement.raw_bind_parameter(3, subjects)?;
            statement.raw_bind_parameter(4, status.map(|(status, _)| status))?;
            statement.raw_bind_parameter(5, status.map(|(_, now)| now))?;
            statement.raw_bind_parameter(6, filter.before.map_or(i64::MAX, |before| before.0.cast_signed()))?;
            statement.raw_bind_parameter(7, i64::try_from(filter.limit).unwrap_or(i64::MAX))?;
            if statement.parameter_count() == 8 {
                statement.raw_bind_parameter(8, state.map(State::code))?;
            }
            let rows = statement.raw_query();
            all(Projection::Verification, rows, sql::credential)
        })
        .await
    }

    async fn verifications(&self, credential: Uuid, from: Position, limit: usize) -> Result<(Vec<Position>, Cursor), Error> {
        self.read(Projection::History, move |connection| {
            let mut statement = connection.prepare_cached(sql::LIST_VERIFICATIONS)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query(params![credential.as_bytes(), from.0.cast_signed(), limit])?;
            all(Projection::History, rows, |row| sql::position(row, 7))
        })
        .await
    }

    async fn decided_by(&self, credential: Uuid, at: At) -> Result<(Option<Position>, Cursor), Error> {
        let (_, time, position) = moment(at);
        self.read(Projection::Verification, move |connection| {
            connection.prepare_cached(sql::DECIDED_BY)?.query_row(params![credential.as_bytes(), time, position], |row| {
                let (cursor, stage) = sql::cursor(Projection::Verification, row)?;
                Ok(((sql::position(row, 7)?, cursor), stage))
            })
        })
        .await
    }

    async fn position_at(&self, time: Timestamp) -> Result<(Option<Position>, Cursor), Error> {
        self.read(Projection::Verification, move |connection| {
            connection.prepare_cached(sql::POSITION_AT)?.query_row([time.as_micros_i64()], |row| {
                let (cursor, stage) = sql::cursor(Projection::Verification, row)?;
                let position = match sql::position(row, 7)? {
                    Some(after) => after.0.checked_sub(1).map(Position),
                    None => cursor.position,
                };
                Ok(((position, cursor), stage))
            })
        })
        .await
    }

    async fn standings(&self) -> Result<Vec<Standing>, Error> {
        let pointers = self.read_pointers().await?;
        let mut standings = Vec::new();
        for projection in Projection::ALL {
            let Some((pointer, digest)) = pointers.get(&projection) else { continue };
            match self.cursor(projection).await {
                Ok(cursor) => standings.push(Standing { cursor, version: pointer.version, digest: *digest }),
                Err(Error::Vanished(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(standings)
    }

    async fn rebuild(&self, id: Uuid) -> Result<Option<Rebuild>, Error> {
        let Some(connection) = self.pointers().await? else { return Ok(None) };
        let read = move |connection: &mut Connection| {
            let mut statement = connection.prepare_cached(sql::SELECT_REBUILD).map_err(store::sqlite::error)?;
            let mut rows = statement.query([id.as_bytes()]).map_err(store::sqlite::error)?;
            let row = rows.next().map_err(store::sqlite::error)?;
            row.map(sql::rebuild).transpose().map_err(|failed| store::Error::Corrupt(failed.to_string()))
        };
        Ok(store::sqlite::call(&connection, read).await?)
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(self.read_pointers().await.map(drop)?)
    }

    fn moved(&self) -> &Notify {
        &self.moved
    }
}

/// A JSON array of hex texts: SQLite takes no arrays.
fn hex_array(ids: &[Uuid]) -> String {
    let texts: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.simple())).collect();
    format!("[{}]", texts.join(","))
}

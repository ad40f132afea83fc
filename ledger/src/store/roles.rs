//! PostgreSQL roles: what the logins of each role of the service may do, and by that what a role can do at all.
//!
//! The statements stand in `migrations/postgres/roles.sql` and `roles_read.sql`; docs/OPERATIONS.md has a table of them. They are
//! for the owner of the tables to run, may be run again, and concern one database: stores that live apart need them in each.

use sqlx::PgConnection;

use super::Error;
use super::postgres::{Durability, Sessions, bounded};

const ROLES: &str = include_str!("../../../migrations/postgres/roles.sql");
const READ: &str = include_str!("../../../migrations/postgres/roles_read.sql");

/// Makes the roles `credence_issuance`, `credence_verification` and `credence_projector`, and grants them what they need of
/// those logs and that vault which the database at `url` holds.
///
/// # Errors
/// [`Error::Denied`]: the login may not make roles, or does not own the tables. Nothing is changed then.
pub async fn grant_roles(url: &str) -> Result<(), Error> {
    run(url, ROLES).await
}

/// Gives the schema of the read store in the database at `url` to the projector, and lets the others read it. The schema is made
/// where it is missing. To be called after [`grant_roles`] has made the roles.
///
/// # Errors
/// As [`grant_roles`].
pub async fn grant_read_roles(url: &str) -> Result<(), Error> {
    run(url, READ).await
}

/// Several statements in one message are one transaction.
async fn run(url: &str, statements: &'static str) -> Result<(), Error> {
    let mut connection: PgConnection = Sessions::new(url, "public", Durability::UnsafeAllowed)?.connect().await?;
    bounded(sqlx::raw_sql(statements).execute(&mut connection)).await.map(drop)
}

#[cfg(test)]
mod tests;

//! What was answered as of a moment stays the answer: a commit that took its time before that moment and becomes visible after it
//! changes nothing that was said.

use std::time::Duration;

use credence_ledger::clock::SystemClock;
use credence_ledger::{Clock, Timestamp};
use serde_json::json;
use sqlx::Connection;

use crate::on_both_engines;
use crate::process::{Running, Server, Start, until};
use crate::store::Store;

/// How long the revocation is in flight.
const IN_FLIGHT: Duration = Duration::from_millis(2500);

on_both_engines!(a_moment_with_a_revocation_in_flight_is_judged_when_the_revocation_is_known);

async fn a_moment_with_a_revocation_in_flight_is_judged_when_the_revocation_is_known(store: Store) {
    let issuance = Start::on(&store).role("issuance").start();
    let _projector = Start::on(&store).role("projector").start();
    let verification = Start::on(&store).role("verification").start();
    let (admin, anyone) = (issuance.admin(&store), verification.anonymous());
    let issued = admin.issue(1).await.expect(201);
    until("it verifies", Duration::from_secs(20), async || {
        anyone.verify_at_least(&issued.id(), issued.position()).await.body["valid"] == true
    })
    .await;

    hold_commits(&store, &issuance).await;
    let id = issued.id();
    let revoking = tokio::spawn(async move { admin.act(&id, "revoke").await });
    tokio::time::sleep(IN_FLIGHT / 3).await;
    let asked_at = SystemClock.now();
    let moment = asked_at.to_string();
    let followed = Running::start(&store, &["replay", "--follow", "--until", &moment]);
    let question = json!({"id": issued.id(), "as_of": moment});
    let early = anyone.post("/v1/verifications", &question).await;
    let revoked = revoking.await.unwrap().expect(200);
    let late = anyone.post("/v1/verifications", &question).await.expect(200);

    let recorded_at: Timestamp = revoked.body["status_changed_at"].as_str().unwrap().parse().unwrap();
    assert!(recorded_at < asked_at, "recorded at {recorded_at}: it was not in flight at {asked_at}");
    assert_eq!(late.body["status"], "revoked");
    assert!(early.status == 503 || early.body["status"] == "revoked", "{} became {}", early.body, late.body);
    let (status, events) = tokio::task::spawn_blocking(|| followed.finish()).await.unwrap();
    assert!(status.success() && events.contains("CredentialRevoked"), "{status}: {events}");
}

/// The next commit of `server` to the ledger is done but for becoming visible, for so long.
async fn hold_commits(store: &Store, server: &Server) {
    if store.is_sqlite() {
        let mut tracer = server.delay_next_syncs(IN_FLIGHT);
        std::thread::spawn(move || tracer.wait());
        return;
    }
    // An appender has read the clock when it comes to write here.
    let mut other = sqlx::PgConnection::connect(store.url()).await.unwrap();
    sqlx::raw_sql("begin; lock table ledger.unique_keys in share mode").execute(&mut other).await.unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(IN_FLIGHT).await;
        sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    });
}

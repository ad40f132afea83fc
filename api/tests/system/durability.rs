//! Acknowledged means durable. `kill -9` does not show it, since the page cache survives; the system calls do.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::Connection;

use crate::process::{Start, until};
use crate::store::Store;
use crate::{figure, replayed};

/// What a traced line says, in the order in which the calls returned.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// A page with issuances went to the ledger's write-ahead log. The publisher of checkpoints writes there too, at its own pace.
    Written,
    /// The ledger's write-ahead log was forced to the disk.
    Synced,
    /// A 201 went to a client.
    Acknowledged,
}

/// Reads `strace -f -y` output. A call that was interrupted by another thread's stands on two lines: a write counts from its
/// first line on, a sync from its second, an acknowledgement from its first, so that no order is made better than it was.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished_syncs: HashMap<&str, bool> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let on_wal = call.split_once(',').map_or(call, |(first, _)| first).contains("/ledger.sqlite-wal>");
        if call.starts_with("pwrite64(") && on_wal && call.contains("CredentialIssued") {
            calls.push(Call::Written);
        } else if call.starts_with("fdatasync(") || call.starts_with("fsync(") {
            if call.contains("<unfinished ...>") {
                unfinished_syncs.insert(thread, call.contains("/ledger.sqlite-wal>"));
            } else if call.contains("/ledger.sqlite-wal>") && call.ends_with("= 0") {
                calls.push(Call::Synced);
            }
        } else if call.starts_with("<... fdatasync resumed>") || call.starts_with("<... fsync resumed>") {
            if unfinished_syncs.remove(thread) == Some(true) && call.ends_with("= 0") {
                calls.push(Call::Synced);
            }
        } else if call.contains("HTTP/1.1 201 ") {
            calls.push(Call::Acknowledged);
        }
    }
    calls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_forces_the_log_to_the_disk_before_every_acknowledgement() {
    let store = Store::sqlite();
    let trace = store.folder().join("trace");
    let server = Start::on(&store)
        .role("issuance")
        .under(&[
            "strace",
            "-f",
            "-y",
            "-s",
            "4096",
            "-e",
            "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg",
            "-o",
            trace.to_str().unwrap(),
        ])
        .start();
    let client = server.admin(&store);
    let issued = figure(20, 200);
    for n in 0..issued {
        client.issue(n).await.expect(201);
    }
    drop(client);
    server.kill9();
    // The tracer ends when its last tracee has.
    until("the trace is whole", Duration::from_secs(20), async || {
        let trace = std::fs::read_to_string(&trace).unwrap();
        calls(&trace).iter().filter(|call| **call == Call::Acknowledged).count() == issued
    })
    .await;

    let (mut since_last, mut waiting) = (0, false);
    for call in calls(&std::fs::read_to_string(&trace).unwrap()) {
        match call {
            Call::Written => waiting = true,
            Call::Synced => {
                waiting = false;
                since_last += 1;
            }
            Call::Acknowledged => {
                assert!(!waiting, "a 201 was sent while the log's last write had not been forced to the disk");
                assert!(since_last > 0, "a 201 was sent without any forced write since the one before it");
                since_last = 0;
            }
        }
    }
}

/// A commit whose last sync failed stands whole in the write-ahead log, where the next process to open it would take it for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_forced_to_the_disk_and_was_refused_does_not_come_back() {
    let store = Store::sqlite();
    let server = Start::on(&store).role("issuance").start();
    let client = server.admin(&store);
    let issued = client.issue(1).await.expect(201);
    let mut tracer = server.break_next_syncs();
    client.act(&issued.id(), "revoke").await.expect(503);
    server.kill9();
    tracer.wait().unwrap();

    let server = Start::on(&store).role("issuance").start();
    let client = server.admin(&store);
    let found = client.get(&format!("/v1/credentials/{}", issued.id())).await.expect(200);
    assert_eq!(found.body["status"], "active", "a revocation that was refused has happened");
    client.act(&issued.id(), "revoke").await.expect(200);
    assert_eq!(replayed::count(&replayed::ledger(&store), "CredentialRevoked"), 1);
}

#[test]
fn a_trace_without_the_sync_is_told_from_one_with_it() {
    let good = "7 pwrite64(9</d/ledger.sqlite-wal>, \"CredentialIssued\", 4096, 0) = 4096\n7 fdatasync(9</d/ledger.sqlite-wal> <unfinished ...>\n8 write(4</x>, \"\", 1) = 1\n7 <... fdatasync resumed>) = 0\n8 writev(5<TCP:[1]>, [{iov_base=\"HTTP/1.1 201 Created\", iov_len=9}], 1) = 9\n";
    assert_eq!(calls(good), [Call::Written, Call::Synced, Call::Acknowledged]);
    let bad = good.replace("7 <... fdatasync resumed>) = 0\n", "");
    assert_eq!(calls(&bad), [Call::Written, Call::Acknowledged]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_sessions_overrule_a_database_that_commits_asynchronously() {
    let store = Store::postgres().await;
    let mut direct = sqlx::PgConnection::connect(store.url()).await.unwrap();
    let database: String = sqlx::query_scalar("select current_database()").fetch_one(&mut direct).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("alter database \"{database}\" set synchronous_commit = off")))
        .execute(&mut direct)
        .await
        .unwrap();
    let mut fresh = sqlx::PgConnection::connect(store.url()).await.unwrap();
    let default: String = sqlx::query_scalar("select current_setting('synchronous_commit')").fetch_one(&mut fresh).await.unwrap();
    assert_eq!(default, "off", "the database's default reaches new sessions");

    // A trigger of the test's own notes the setting under which each event was inserted.
    let server = Start::on(&store).start();
    sqlx::raw_sql(
        "create table public.seen (setting text); grant insert on public.seen to public;
         create function public.note() returns trigger language plpgsql as
           $$ begin insert into public.seen values (current_setting('synchronous_commit')); return new; end $$;
         create trigger note after insert on ledger.events for each row execute function public.note();
         create trigger note after insert on audit.events for each row execute function public.note();",
    )
    .execute(&mut direct)
    .await
    .unwrap();
    let client = server.admin(&store);
    let issued = client.issue(1).await.expect(201);
    client.verify_at_least(&issued.id(), issued.position()).await.expect(200);
    let settings: Vec<String> = sqlx::query_scalar("select distinct setting from public.seen").fetch_all(&mut direct).await.unwrap();
    assert_eq!(settings, ["on"]);
    assert_eq!(replayed::count(&replayed::ledger(&store), "CredentialIssued"), 1);
}

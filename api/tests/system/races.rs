//! Several processes on one store: one winner, no gap.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::client::Client;
use crate::process::Start;
use crate::store::Store;
use crate::{figure, on_both_engines, replayed};

on_both_engines!(twenty_equal_issuances_over_two_processes_have_one_winner);
on_both_engines!(issuances_from_two_processes_leave_no_gap);
on_both_engines!(two_parallel_revocations_are_one_success_and_one_conflict);

/// One subject in twenty spellings: e-mail case, white space, composed and decomposed letters.
fn spelling(round: usize, n: usize) -> Value {
    let name = match n % 4 {
        0 => format!("José Ñandú {round}"),
        1 => format!("  Jose\u{301}   N\u{303}andu\u{301} {round} "),
        2 => format!("Jos\u{e9}\u{a0}\u{d1}and\u{fa}\t{round}").replace('\t', " "),
        _ => format!("José \u{2003}N\u{303}andú  {round}"),
    };
    let email = match n % 5 {
        0 => format!("jose-{round}@example.org"),
        1 => format!("JOSE-{round}@EXAMPLE.ORG"),
        2 => format!(" Jose-{round}@Example.Org "),
        3 => format!("jOsE-{round}@eXaMpLe.oRg"),
        _ => format!("jose-{round}@example.org  "),
    };
    json!({"type": "race", "subject": {"name": name, "email": email}})
}

async fn twenty_equal_issuances_over_two_processes_have_one_winner(store: Store) {
    let (one, other) = (Start::on(&store).start(), Start::on(&store).start());
    let clients = [one.admin(&store), other.admin(&store)];
    for round in 0..50 {
        let together = Arc::new(Barrier::new(20));
        let answers = join_all((0..20).map(|n| {
            let (client, together) = (clients[n % 2].clone(), Arc::clone(&together));
            async move {
                together.wait().await;
                client.post("/v1/credentials", &spelling(round, n)).await
            }
        }))
        .await;
        let winners: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
        assert_eq!(winners.len(), 1, "round {round}: {:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
        for loser in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(loser.status, 409, "round {round}: {}", loser.body);
            assert_eq!(loser.body["existing"]["id"], winners[0].body["id"], "round {round}");
        }
    }
    assert_eq!(replayed::count(&replayed::ledger(&store), "CredentialIssued"), 50);
}

async fn issue_range(client: Client, numbers: std::ops::Range<usize>) {
    let width = 32;
    join_all((0..width).map(|lane| {
        let (client, numbers) = (client.clone(), numbers.clone());
        async move {
            for n in numbers.skip(lane).step_by(width) {
                client.issue(n).await.expect(201);
            }
        }
    }))
    .await;
}

async fn issuances_from_two_processes_leave_no_gap(store: Store) {
    let (one, other) = (Start::on(&store).start(), Start::on(&store).start());
    tokio::join!(issue_range(one.admin(&store), 0..5_000), issue_range(other.admin(&store), 5_000..10_000));
    assert_eq!(replayed::count(&replayed::ledger(&store), "CredentialIssued"), 10_000);
    assert!(one.terminate().success());
    assert!(other.terminate().success());
}

async fn two_parallel_revocations_are_one_success_and_one_conflict(store: Store) {
    let (one, other) = (Start::on(&store).start(), Start::on(&store).start());
    let (a, b) = (one.admin(&store), other.admin(&store));
    for n in 0..figure(10, 50) {
        let id = a.issue(n).await.expect(201).id();
        let (first, second) = tokio::join!(a.act(&id, "revoke"), b.act(&id, "revoke"));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
    }
}

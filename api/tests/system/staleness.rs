//! A skipped or late revocation is worse than downtime: whatever happens to the projector, no `valid: true` is given once the
//! revocation is older than the limit and one refresh.

use std::time::{Duration, Instant};

use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Log, Outcome, postgres, sqlite};
use credence_ledger::random::SystemRandom;
use credence_ledger::store::Url;
use credence_ledger::store::postgres::Durability;
use credence_ledger::{LogName, Stream, clock::SystemClock};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::on_both_engines;
use crate::process::{Server, Start, until};
use crate::store::Store;

const LIMIT_S: u64 = 3;
/// How often a projector confirms that there is nothing newer.
const REFRESH: Duration = Duration::from_secs(1);

on_both_engines!(a_paused_projector_gives_no_stale_verdict);
on_both_engines!(a_killed_projector_gives_no_stale_verdict);
on_both_engines!(a_poisoned_projector_gives_no_stale_verdict);
on_both_engines!(an_idle_log_stays_fresh_without_any_issuance_process);

struct Nodes {
    issuance: Server,
    verification: Server,
    projector: Server,
}

impl Nodes {
    fn start(store: &Store) -> Nodes {
        Nodes::start_with(store, Start::on(store))
    }

    fn start_with<'a>(store: &'a Store, projector: Start<'a>) -> Nodes {
        let issuance = Start::on(store).role("issuance").start();
        let projector = projector.role("projector").start();
        let verification = Start::on(store).role("verification").variable("CREDENCE_STALENESS_S_MAX", &LIMIT_S.to_string()).start();
        Nodes { issuance, verification, projector }
    }

    /// A credential that verifies as valid.
    async fn valid(&self, store: &Store, n: usize) -> String {
        let issued = self.issuance.admin(store).issue(n).await.expect(201);
        let verification = self.verification.anonymous();
        until("it verifies", Duration::from_secs(20), async || {
            verification.verify_at_least(&issued.id(), issued.position()).await.body["valid"] == true
        })
        .await;
        issued.id()
    }

    /// Revokes, and asks for as long as a stale answer could come and longer.
    async fn no_stale_verdict_after_revoking(&self, store: &Store, id: &str) {
        self.issuance.admin(store).act(id, "revoke").await.expect(200);
        let revoked = Instant::now();
        let limit = Duration::from_secs(LIMIT_S) + REFRESH;
        let verification = self.verification.anonymous();
        let mut refused = 0;
        while revoked.elapsed() < limit + Duration::from_secs(4) {
            // An answer is judged by when it was asked for: it cannot be older than that.
            let asked = revoked.elapsed();
            let answer = verification.verify(id).await;
            assert!(answer.status != 200 || answer.body["valid"] != true || asked <= limit, "valid: true, {asked:?} after the revocation");
            refused += usize::from(answer.status == 503);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(refused > 0 || verification.verify(id).await.body["status"] == "revoked");
    }
}

async fn a_paused_projector_gives_no_stale_verdict(store: Store) {
    let nodes = Nodes::start(&store);
    let id = nodes.valid(&store, 1).await;
    nodes.projector.signal("STOP");
    nodes.no_stale_verdict_after_revoking(&store, &id).await;
    // Awake again, it catches up by itself.
    nodes.projector.signal("CONT");
    becomes_revoked(&nodes.verification.anonymous(), &id).await;
}

async fn a_killed_projector_gives_no_stale_verdict(store: Store) {
    let mut nodes = Nodes::start(&store);
    let id = nodes.valid(&store, 1).await;
    nodes.projector.signal("KILL");
    nodes.no_stale_verdict_after_revoking(&store, &id).await;
    nodes.projector = Start::on(&store).role("projector").start();
    becomes_revoked(&nodes.verification.anonymous(), &id).await;
}

async fn becomes_revoked(verification: &Client, id: &str) {
    until("the verdict is revoked", Duration::from_secs(20), async || verification.verify(id).await.body["status"] == "revoked").await;
}

async fn a_poisoned_projector_gives_no_stale_verdict(store: Store) {
    let nodes = Nodes::start(&store);
    let id = nodes.valid(&store, 1).await;
    append_unknown_event(&store).await;
    nodes.no_stale_verdict_after_revoking(&store, &id).await;
    let answer = nodes.verification.anonymous().verify(&id).await;
    assert_eq!((answer.status, answer.body["type"].as_str()), (503, Some("/problems/projection-unhealthy")));
}

/// An event that a newer program might write: well formed, in a category that the projection folds, of an unknown type.
async fn append_unknown_event(store: &Store) {
    let clock = std::sync::Arc::new(SystemClock);
    let log: Box<dyn Log> = match store.url().parse().unwrap() {
        Url::Sqlite(folder) => Box::new(sqlite::Sqlite::open_existing(&folder, LogName::LEDGER, clock.clone()).await.unwrap()),
        Url::Postgres(url) => {
            Box::new(postgres::Postgres::open(url.expose_secret(), LogName::LEDGER, None, None, Durability::Durable).await.unwrap())
        }
    };
    let stream = Stream::credential(credence_ledger::event::new_id(&clock, &SystemRandom));
    let metadata = Origination::system("another").metadata(&SystemRandom);
    let event = New {
        kind: "CredentialTransferred",
        schema: 1,
        event_id: *metadata.event_id,
        metadata: credence_ledger::codec::encode(&metadata).into(),
        payload: vec![0xa0].into(),
    };
    let outcomes = log.commit(vec![Append::to(stream, Expected::None, vec![event])]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Appended(_)]));
}

async fn an_idle_log_stays_fresh_without_any_issuance_process(store: Store) {
    let nodes = Nodes::start(&store);
    let id = nodes.valid(&store, 1).await;
    assert!(nodes.issuance.terminate().success());
    tokio::time::sleep(Duration::from_secs(3 * LIMIT_S)).await;
    assert_eq!(nodes.verification.anonymous().verify(&id).await.expect(200).body["valid"], true);
}

/// The projector reaches the ledger's server through a wire that the test can cut; the read store's it reaches directly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_cut_off_from_the_ledger_gives_no_stale_verdict() {
    let store = Store::private_postgres().await;
    let wire = Wire::to(store.url()).await;
    let nodes = Nodes::start_with(&store, Start::on(&store).variable("CREDENCE_LEDGER_STORE", &wire.url));
    let id = nodes.valid(&store, 1).await;
    wire.cut.cancel();
    nodes.no_stale_verdict_after_revoking(&store, &id).await;
    let answer = nodes.verification.anonymous().verify(&id).await;
    assert_eq!((answer.status, answer.body["type"].as_str()), (503, Some("/problems/stale")));
}

/// A wire to the database behind a URL.
struct Wire {
    /// The same database, reached through the wire.
    url: String,
    /// Cuts it, for good.
    cut: CancellationToken,
}

impl Wire {
    async fn to(url: &str) -> Wire {
        let options: PgConnectOptions = url.parse().unwrap();
        let target = match options.get_socket() {
            Some(folder) => folder.join(format!(".s.PGSQL.{}", options.get_port())),
            None => panic!("the test's own server listens on a Unix socket"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = CancellationToken::new();
        let cutting = cut.clone();
        tokio::spawn(cut.clone().run_until_cancelled_owned(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let target = target.clone();
                tokio::spawn(cutting.clone().run_until_cancelled_owned(async move {
                    let mut far = UnixStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }));
            }
        }));
        let url = format!("postgres://{}@127.0.0.1:{port}/{}", options.get_username(), options.get_database().unwrap());
        Wire { url, cut }
    }
}

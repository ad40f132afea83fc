//! A log with a tree and signed checkpoints, on either engine, as the tests of lies and of flipped bytes damage it; and what is found
//! of tiles and checkpoints alone.

use async_trait::async_trait;

use super::*;
use crate::checkpoint::{LogKey, TreeHead};
use crate::testing::postgres::Database;
use crate::tiles::{Published, Tiles, grow, root};
use crate::tree::tile::{Level, Tile};

/// The sizes at which the tree grew and was signed. The log itself is longer.
pub(super) const SIGNED: [u64; 3] = [100, 300, 600];
pub(super) const SIZE: u64 = 640;

/// A store below the product.
#[async_trait]
pub(super) trait Store: Send + Sync {
    fn log(&self) -> &dyn Log;
    fn tiles(&self) -> &dyn Tiles;
    /// Runs statements without triggers.
    async fn raw(&self, statements: String);
    /// A literal.
    fn bytes(&self, bytes: &[u8]) -> String;
}

pub(super) struct OnSqlite {
    damaged: Damaged,
    tiles: tiles::sqlite::Sqlite,
}

pub(super) struct OnPostgres {
    database: Database,
    log: Postgres,
    tiles: tiles::postgres::Postgres,
}

pub(super) async fn on_sqlite() -> OnSqlite {
    let folder = tempfile::tempdir().unwrap();
    let log = Sqlite::open(folder.path(), LogName::LEDGER, "fsck.example", Arc::new(ManualClock::at(noon()))).await.unwrap();
    let tiles = tiles::sqlite::Sqlite::new(folder.path(), LogName::LEDGER, log.origin().clone());
    let streams = std::array::from_fn(|_| Stream::credential(id()));
    let made = OnSqlite { damaged: Damaged { folder, log, streams }, tiles };
    fill_and_sign(&made).await;
    made
}

pub(super) async fn on_postgres() -> OnPostgres {
    let database = Database::create().await;
    let log = postgres(&database).await;
    let tiles = tiles::postgres::Postgres::new(&database.url, LogName::LEDGER, log.origin().clone(), Durability::Durable).unwrap();
    let made = OnPostgres { database, log, tiles };
    fill_and_sign(&made).await;
    made
}

impl OnSqlite {
    pub(super) fn file(&self) -> std::path::PathBuf {
        sqlite::path(self.damaged.folder.path(), &LogName::LEDGER)
    }
}

#[async_trait]
impl Store for OnSqlite {
    fn log(&self) -> &dyn Log {
        &self.damaged.log
    }

    fn tiles(&self) -> &dyn Tiles {
        &self.tiles
    }

    async fn raw(&self, statements: String) {
        self.damaged.damage(&statements);
    }

    fn bytes(&self, bytes: &[u8]) -> String {
        format!("x'{}'", hex::encode(bytes))
    }
}

#[async_trait]
impl Store for OnPostgres {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn tiles(&self) -> &dyn Tiles {
        &self.tiles
    }

    async fn raw(&self, statements: String) {
        let mut raw = sqlx::PgConnection::connect(&self.database.url).await.unwrap();
        let tables = ["events", "tiles", "checkpoints"].map(|table| format!("alter table {table} disable trigger all;"));
        let statements = format!("set search_path = ledger; {} {statements}", tables.concat());
        sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut raw).await.unwrap();
    }

    fn bytes(&self, bytes: &[u8]) -> String {
        format!("'\\x{}'::bytea", hex::encode(bytes))
    }
}

pub(super) fn key(store: &dyn Store) -> LogKey {
    LogKey::from_seed(store.log().origin().clone(), &[1; 32])
}

async fn fill_and_sign(store: &dyn Store) {
    let (issuer, mut edge, mut size) = (id(), None, 0);
    for (number, signed) in (0..).zip(SIGNED) {
        issue_many(store.log(), issuer, usize::try_from(signed - size).unwrap()).await;
        size = signed;
        grow(store.tiles(), &mut edge).await.unwrap();
        let note = sign(store, TreeSize(size)).await.note().to_owned();
        assert!(store.tiles().publish(&Published { number, size: TreeSize(size), note }).await.unwrap());
    }
    issue_many(store.log(), issuer, usize::try_from(SIZE - size).unwrap()).await;
}

/// The tree as it stands at a size, signed.
pub(super) async fn sign(store: &dyn Store, size: TreeSize) -> Checkpoint {
    let root = root(store.tiles(), size).await.unwrap();
    Checkpoint::sign(TreeHead { origin: store.log().origin().clone(), size, root }, &key(store))
}

/// With the log's key known, and these checkpoints kept elsewhere.
pub(super) async fn found_with(store: &dyn Store, held: &[Held]) -> Vec<String> {
    let known = [key(store).verifier()];
    let found = run_against(store.log(), &Against { tiles: store.tiles(), known: &known, held }).await.0;
    found.iter().map(ToString::to_string).collect()
}

pub(super) async fn found(store: &dyn Store) -> Vec<String> {
    found_with(store, &[]).await
}

pub(super) fn kept(at: &str, checkpoint: Checkpoint) -> Held {
    Held { at: at.to_owned(), checkpoint, is_published: true }
}

#[tokio::test]
async fn a_log_with_its_tree_and_checkpoints_has_no_findings_though_the_tree_is_behind() {
    for store in [&on_sqlite().await as &dyn Store, &on_postgres().await] {
        let held: Vec<Held> = futures::future::join_all(SIGNED.map(|size| sign(store, TreeSize(size))))
            .await
            .into_iter()
            .map(|one| kept("hand", one))
            .collect();
        assert_eq!(found_with(store, &held).await, [""; 0]);
        let (_, summary) = run_against(store.log(), &Against { tiles: store.tiles(), known: &[], held: &[] }).await;
        let root = root(store.tiles(), TreeSize(600)).await.unwrap();
        assert!(summary.to_string().ends_with(&format!(", tree 600 {root}, 3 checkpoints, ok")), "{summary}");
    }
}

#[tokio::test]
async fn a_tile_that_is_missing_too_many_too_long_or_too_short_is_named() {
    let cases = [
        ("delete from tiles where level = 0 and number = 1", "ledger@256 tile: the tile 0/001 is missing"),
        ("delete from tiles where level = -1 and number = 2", "ledger@512 tile: the tile entries/002 is missing"),
        ("delete from tiles where level = 1", "ledger tile: the tile 1/000 is missing"),
        (
            "insert into tiles select 0, 9, hashes from tiles where level = 0 and number = 0",
            "ledger tile: the tile 0/009 is none of a tree of 600 events",
        ),
        (
            "insert into tiles select 5, 0, hashes from tiles where level = 0 and number = 0",
            "ledger tile: the tile 5/000 is none of a tree of 600 events",
        ),
        ("insert into tiles select 8, 0, hashes from tiles where level = 0 and number = 0", "ledger tile: tiles cannot be listed: "),
        (
            "update tiles set hashes = substr(hashes, 1, 32) where level = 0 and number = 2",
            "ledger@512 tile: the tile 0/002 holds 32 bytes, in a tree of 600 events it holds 2816",
        ),
        (
            "update tiles set hashes = {longer} where level = 1",
            "ledger tile: the tile 1/000 holds 96 bytes, in a tree of 600 events it holds 64",
        ),
        ("update tree set size = 599", "ledger tree: its row says that it stands for 599 events, its tiles hold 600"),
        ("update tree set size = 610", "ledger tree: its row says that it stands for 610 events, its tiles hold 600"),
        (
            "update tree set size = 9000000000000000000",
            "ledger tree: its row says that it stands for 9000000000000000000 events, its tiles hold 600",
        ),
        ("delete from tree", "ledger tree: tree: the row is missing"),
        ("delete from checkpoints where number = 1", "ledger checkpoint: number 1 is missing"),
        ("update checkpoints set note = 'x' where number = 1", "ledger checkpoint: number 1: this is no checkpoint"),
        ("update checkpoints set size = 299 where number = 1", "ledger checkpoint: number 1: it is stored with the size 299, and says 300"),
    ];
    let (of_sqlite, of_postgres) = (on_sqlite().await, on_postgres().await);
    for (damage, expected) in cases {
        for store in [&of_sqlite as &dyn Store, &of_postgres] {
            let before = Dump::of(store).await;
            let held = store.tiles().read(&[Tile { level: Level::Hashes(1), index: 0 }]).await.unwrap().remove(0).unwrap();
            store.raw(damage.replace("{longer}", &store.bytes(&[&held[..], &held[..32]].concat()))).await;
            let found = found(store).await;
            assert!(matches!(&found[..], [only] if only.starts_with(expected)), "{damage}: {found:#?}");
            before.restore(store).await;
        }
    }
    for store in [&of_sqlite as &dyn Store, &of_postgres] {
        assert_eq!(found(store).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_checkpoint_is_trusted_for_known_keys_only_and_without_any_for_its_root() {
    let store = on_sqlite().await;
    let other = LogKey::from_seed(store.log().origin().clone(), &[2; 32]);
    let head = sign(&store, TreeSize(300)).await.head().clone();
    let by_another = Checkpoint::sign(head, &other);
    store.raw(format!("update checkpoints set note = '{}' where number = 1", by_another.note())).await;
    assert_eq!(found(&store).await, ["ledger checkpoint: number 1: no known key has signed the checkpoint"]);
    let known = [key(&store).verifier(), other.verifier()];
    let against = Against { tiles: store.tiles(), known: &known, held: &[] };
    assert_eq!(run_against(store.log(), &against).await.0, [], "an old key is as good as the new one");

    let wrong = TreeHead { root: TreeHash([7; 32]), ..by_another.head().clone() };
    store.raw(format!("update checkpoints set note = '{}' where number = 1", Checkpoint::sign(wrong, &other).note())).await;
    let without = Against { known: &[], ..against };
    let found: Vec<String> = run_against(store.log(), &without).await.0.iter().map(ToString::to_string).collect();
    assert!(found.len() == 1 && found[0].starts_with("ledger checkpoint: number 1 (size 300) has the root Bwc"), "{found:?}");
    assert!(found[0].ends_with("; later ones agree with the log"), "{found:?}");
}

#[tokio::test]
async fn a_checkpoint_of_another_log_and_one_beyond_the_tree_are_named() {
    let store = on_sqlite().await;
    let (before, note) = (Dump::of(&store).await, sign(&store, TreeSize(300)).await.note().replace("fsck.example", "other.example"));
    store.raw(format!("update checkpoints set note = '{note}' where number = 1")).await;
    let origins = "its origin is other.example/v1/logs/ledger, the log's is fsck.example/v1/logs/ledger";
    assert_eq!(found(&store).await, [format!("ledger checkpoint: number 1: {origins}")]);
    before.restore(&store).await;
    let elsewhere = kept("hand", Checkpoint::parse(&note).unwrap());
    assert_eq!(found_with(&store, &[elsewhere]).await, [format!("ledger checkpoint: the one kept at hand: {origins}")]);
    store.raw("delete from tiles; update tree set size = 0".to_owned()).await;
    let beyond =
        |number: u64, size: u64| format!("ledger checkpoint: number {number} is of size {size}, the tree stands for 0 events only");
    assert_eq!(found(&store).await, [beyond(0, 100), beyond(1, 300), beyond(2, 600)]);
}

#[tokio::test]
async fn the_last_one_that_was_signed_is_stored_or_soon_will_be() {
    let store = Arc::new(on_sqlite().await);
    let signed = |checkpoint| [Held { is_published: false, ..kept("the vault", checkpoint) }];
    let last = signed(sign(&*store, TreeSize(600)).await);
    assert_eq!(found_with(&*store, &last).await, [""; 0]);
    // A vault that was restored is behind, which is nobody's fault.
    assert_eq!(found_with(&*store, &signed(sign(&*store, TreeSize(450)).await)).await, [""; 0]);
    store.raw("delete from checkpoints where number = 2".to_owned()).await;
    let expected = "ledger checkpoint: the one of size 600 that was signed last, kept at the vault, is not stored: it was removed, or not \
                    published yet; the next round publishes it";
    assert_eq!(found_with(&*store, &last).await, [expected]);
    assert_eq!(found(&*store).await, [""; 0], "without the vault nobody knows of it");
    let published = Published { number: 2, size: TreeSize(600), note: last[0].checkpoint.note().to_owned() };
    let publishing = tokio::spawn({
        let store = store.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            assert!(store.tiles().publish(&published).await.unwrap());
        }
    });
    assert_eq!(found_with(&*store, &last).await, [""; 0], "it is under way");
    publishing.await.unwrap();
}

#[tokio::test]
async fn in_the_place_of_an_event_that_is_missing_stands_what_the_tree_says_and_the_rest_is_checked() {
    let store = on_sqlite().await;
    let held = [kept("hand", sign(&store, TreeSize(450)).await)];
    store.raw("delete from events where position = 200; update events set stream = 'nothing' where position = 210".to_owned()).await;
    let missing = ["ledger@200 gap: no event stands here", "ledger@210 encoding: "];
    let told = found_with(&store, &held).await;
    assert!(told.len() == 2 && missing.iter().zip(&told).all(|(expected, told)| told.starts_with(expected)), "{told:#?}");
    store.raw("update tiles set hashes = zeroblob(length(hashes)) where level = 0 and number = 2".to_owned()).await;
    let told = found_with(&store, &held).await;
    assert!(told.len() == 3 && told[2].starts_with("ledger@512 tile: the tile 0/002: its hash 0 is AAAA"), "{told:#?}");
    assert!(told[2].ends_with("; so are 87 more of its hashes"), "{told:#?}");
    // Not even the tree says what stood there.
    store.raw("delete from tiles where level = -1 and number = 0".to_owned()).await;
    let told = found_with(&store, &held).await;
    let stopped = "ledger checkpoint: the one kept at hand (size 450) was not held against the log, of which events are missing";
    assert_eq!(told.last().map(String::as_str), Some(stopped), "{told:#?}");
}

#[tokio::test]
async fn a_tree_that_grows_and_is_signed_while_the_check_runs_is_sound() {
    let store = Arc::new(on_sqlite().await);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let growing = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let (mut edge, mut number) = (None, 3);
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                issue_many(store.log(), id(), 30).await;
                let size = grow(store.tiles(), &mut edge).await.unwrap();
                let note = sign(&*store, size).await.note().to_owned();
                assert!(store.tiles().publish(&Published { number, size, note }).await.unwrap());
                number += 1;
            }
        }
    });
    for _ in 0..20 {
        assert_eq!(found(&*store).await, [""; 0]);
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    growing.await.unwrap();
}

/// What tiles, tree and checkpoints were before they were damaged.
struct Dump(String);

impl Dump {
    async fn of(store: &dyn Store) -> Dump {
        let size = store.tiles().size().await.unwrap();
        let mut statements = format!("delete from tiles; delete from checkpoints; delete from tree; {};", one_row(store, size));
        for (tile, held) in store.tiles().list(None, 1000).await.unwrap() {
            let (level, held) = (tile.level.stored(), store.bytes(&held));
            statements.push_str(&format!("insert into tiles (level, number, hashes) values ({level}, {}, {held});", tile.index));
        }
        for Published { number, size, note } in store.tiles().checkpoints(0, 1000).await.unwrap() {
            statements.push_str(&format!("insert into checkpoints (number, size, note) values ({number}, {size}, '{note}');"));
        }
        Dump(statements)
    }

    async fn restore(self, store: &dyn Store) {
        store.raw(self.0).await;
    }
}

fn one_row(store: &dyn Store, size: TreeSize) -> String {
    let is_sqlite = store.bytes(&[]).starts_with('x');
    if is_sqlite { format!("insert into tree (id, size) values (1, {size})") } else { format!("insert into tree (size) values ({size})") }
}

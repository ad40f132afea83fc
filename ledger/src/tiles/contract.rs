//! The contract suite: what every engine that keeps tiles must keep, one sentence a test.
//! [`tiles_contract!`](crate::tiles_contract) runs all of it.
#![expect(clippy::unwrap_used, reason = "these are tests, compiled for other crates' tests too")]

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Published, Tiles, grow, root};
use crate::event::audit::KeyRevoked;
use crate::event::{New, Origination};
use crate::log::{Append, Expected, Log, Query};
use crate::random::SystemRandom;
use crate::stream::category;
use crate::tree::growth::Edge;
use crate::tree::tile::{Level, Tile};
use crate::tree::{Frontier, Hash, TreeSize};
use crate::{Position, Stream};

/// A log that is empty at first, with its tiles.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// A handle on the log.
    async fn log(&self) -> Arc<dyn Log>;

    /// One more handle on its tiles, as another process would open.
    async fn open(&self) -> Arc<dyn Tiles>;
}

/// Makes a `#[tokio::test]` of every sentence. `$fresh` is an async function without arguments that makes a [`Fixture`].
#[macro_export]
macro_rules! tiles_contract {
    ($fresh:path) => {
        $crate::tiles_contract! { $fresh:
            an_empty_log_has_a_tree_without_leaves
            a_tree_grows_to_its_log_and_no_further
            a_tree_has_the_root_of_its_events_at_every_size_that_it_had
            a_tree_that_two_let_grow_at_once_is_one_tree
            tiles_are_written_for_the_size_that_they_grew_from_only
            tiles_are_listed_in_their_order_page_by_page
            checkpoints_are_numbered_without_a_gap
        }
    };
    ($fresh:path: $($sentence:ident)+) => {
        $(
            #[tokio::test]
            async fn $sentence() {
                let fixture = $fresh().await;
                $crate::tiles::contract::$sentence(&fixture).await;
            }
        )+
    };
}

/// Appends so many events.
pub async fn append(log: &dyn Log, events: u64) {
    let random = SystemRandom;
    let event = || New::of(&KeyRevoked {}, &Origination::system("test").metadata(&random));
    let stream = || Stream::new(category::KEY, crate::event::new_id(&crate::clock::SystemClock, &random));
    let appends = (0..events).map(|_| Append::to(stream(), Expected::None, vec![event()]));
    log.commit(appends.collect()).await.unwrap();
}

async fn frontier(log: &dyn Log, size: TreeSize) -> Frontier {
    let mut frontier = Frontier::new();
    for event in log.read(&Query::from(Position::FIRST, usize::try_from(size.0).unwrap())).await.unwrap() {
        frontier.push(Hash::leaf(event.event_hash));
    }
    frontier
}

/// See the name.
pub async fn an_empty_log_has_a_tree_without_leaves(fixture: &impl Fixture) {
    let tiles = fixture.open().await;
    assert_eq!(tiles.size().await.unwrap(), TreeSize::EMPTY);
    assert_eq!(grow(&*tiles, &mut None).await.unwrap(), TreeSize::EMPTY);
    assert_eq!(root(&*tiles, TreeSize::EMPTY).await.unwrap(), Hash::EMPTY);
    assert_eq!(tiles.latest().await.unwrap(), None);
    assert_eq!(tiles.read(&[Tile { level: Level::Entries, index: 0 }]).await.unwrap(), [None]);
}

/// See the name.
pub async fn a_tree_grows_to_its_log_and_no_further(fixture: &impl Fixture) {
    let (log, tiles, mut edge) = (fixture.log().await, fixture.open().await, None);
    let mut size = 0;
    for events in [1, 254, 1, 300] {
        append(&*log, events).await;
        size += events;
        assert_eq!(grow(&*tiles, &mut edge).await.unwrap(), TreeSize(size));
        assert_eq!(grow(&*tiles, &mut edge).await.unwrap(), TreeSize(size));
        assert_eq!(fixture.open().await.size().await.unwrap(), TreeSize(size));
    }
}

/// See the name.
pub async fn a_tree_has_the_root_of_its_events_at_every_size_that_it_had(fixture: &impl Fixture) {
    let (log, tiles) = (fixture.log().await, fixture.open().await);
    append(&*log, 600).await;
    grow(&*tiles, &mut None).await.unwrap();
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 600].map(TreeSize) {
        assert_eq!(root(&*tiles, size).await.unwrap(), frontier(&*log, size).await.root(), "{size}");
    }
    let entries = tiles.read(&[Tile { level: Level::Entries, index: 0 }]).await.unwrap();
    let first = log.read_at(&[Position::FIRST]).await.unwrap();
    assert_eq!(entries[0].as_ref().unwrap()[..32], first[0].event_hash.0);
}

/// See the name.
pub async fn a_tree_that_two_let_grow_at_once_is_one_tree(fixture: &impl Fixture) {
    let log = fixture.log().await;
    let (one, other) = (fixture.open().await, fixture.open().await);
    let (mut edge_of_one, mut edge_of_other) = (None, None);
    for _ in 0..5 {
        append(&*log, 100).await;
        let grown = futures::join!(grow(&*one, &mut edge_of_one), grow(&*other, &mut edge_of_other));
        assert_eq!(grown.0.unwrap(), grown.1.unwrap());
    }
    assert_eq!(root(&*one, TreeSize(500)).await.unwrap(), frontier(&*log, TreeSize(500)).await.root());
}

/// See the name.
pub async fn tiles_are_written_for_the_size_that_they_grew_from_only(fixture: &impl Fixture) {
    let tiles = fixture.open().await;
    append(&*fixture.log().await, 3).await;
    grow(&*tiles, &mut None).await.unwrap();
    let changed = Edge::empty().grow(&[crate::chain::Hash([1; 32])]);
    assert!(!tiles.write(TreeSize::EMPTY, TreeSize(1), &changed).await.unwrap());
    assert_eq!(tiles.size().await.unwrap(), TreeSize(3));
    assert!(tiles.write(TreeSize(3), TreeSize(4), &BTreeMap::new()).await.unwrap());
}

/// See the name.
pub async fn tiles_are_listed_in_their_order_page_by_page(fixture: &impl Fixture) {
    let tiles = fixture.open().await;
    append(&*fixture.log().await, 513).await;
    grow(&*tiles, &mut None).await.unwrap();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = tiles.list(after, 2).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        listed.extend(page.iter().map(|(tile, held)| (tile.level, tile.index, held.len() / 32)));
    }
    let of = |level| [(level, 0, 256), (level, 1, 256), (level, 2, 1)];
    assert_eq!(listed, [&of(Level::Entries)[..], &of(Level::Hashes(0)), &[(Level::Hashes(1), 0, 2)]].concat());
}

/// See the name.
pub async fn checkpoints_are_numbered_without_a_gap(fixture: &impl Fixture) {
    let (one, other) = (fixture.open().await, fixture.open().await);
    let checkpoint = |number, size| Published { number, size: TreeSize(size), note: format!("note {number}\n") };
    assert!(!one.publish(&checkpoint(1, 5)).await.unwrap());
    assert!(one.publish(&checkpoint(0, 5)).await.unwrap());
    assert!(!other.publish(&checkpoint(0, 6)).await.unwrap());
    assert!(other.publish(&checkpoint(1, 5)).await.unwrap());
    assert!(one.publish(&checkpoint(2, 7)).await.unwrap());
    assert_eq!(other.latest().await.unwrap(), Some(checkpoint(2, 7)));
    assert_eq!(one.checkpoints(1, 9).await.unwrap(), [checkpoint(1, 5), checkpoint(2, 7)]);
    assert_eq!(one.checkpoints(0, 1).await.unwrap(), [checkpoint(0, 5)]);
}

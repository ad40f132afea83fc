use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::chain::Origin;
use crate::checkpoint::{LogKey, TreeHead, WitnessKey};
use crate::clock::ManualClock;
use crate::log::{Log, memory};
use crate::tiles::contract::append;
use crate::tree::TreeSize;
use crate::{LogName, Timestamp};

const QUICK: Patience =
    Patience { answer_max: Duration::from_millis(300), grace: Duration::from_millis(100), rest: Duration::from_millis(1500) };

/// What a witness does when it is asked.
#[derive(Debug, Clone, Copy)]
enum Does {
    Cosign,
    /// It cosigns with another key.
    Forge,
    Hang,
    Fail,
    Forked,
    Ahead(u64),
}

struct Scripted {
    key: WitnessKey,
    verifier: VerifierKey,
    does: Mutex<Does>,
    asked: AtomicUsize,
}

impl Scripted {
    fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Witness for Scripted {
    fn key(&self) -> &VerifierKey {
        &self.verifier
    }

    async fn cosign(&self, checkpoint: &Checkpoint, _: &dyn Tiles) -> Result<String, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let does = *self.does.lock().unwrap();
        match does {
            Does::Cosign => Ok(self.key.cosign(checkpoint, 1)),
            Does::Forge => Ok(WitnessKey::from_seed(self.verifier.name(), &[99; 32]).cosign(checkpoint, 1)),
            Does::Hang => std::future::pending().await,
            Does::Fail => Err(Refusal::NoAnswer("it is ill".to_owned())),
            Does::Forked => Err(Refusal::Forked),
            Does::Ahead(seen) => Err(Refusal::Ahead(TreeSize(seen))),
        }
    }
}

/// Three witnesses, of which so many are wanted, and a log of five events with a checkpoint of three.
struct Scene {
    witnesses: Vec<Arc<Scripted>>,
    cosigners: Cosigners,
    tiles: Arc<dyn Tiles>,
    checkpoint: Checkpoint,
}

impl Scene {
    async fn wanting(wanted: usize) -> Scene {
        let witness = |seed: u8| {
            let key = WitnessKey::from_seed(&format!("w{seed}.example"), &[seed; 32]);
            Arc::new(Scripted { verifier: key.verifier(), key, does: Mutex::new(Does::Cosign), asked: AtomicUsize::new(0) })
        };
        let witnesses: Vec<Arc<Scripted>> = (1..=3).map(witness).collect();
        let members = witnesses.iter().map(|witness| Quorum::Witness(witness.verifier.clone())).collect();
        let quorum = if wanted == 0 { Quorum::None } else { Quorum::Some(wanted, members) };
        let asked = witnesses.iter().map(|witness| witness.clone() as Arc<dyn Witness>).collect();
        let cosigners = Cosigners { patience: QUICK, ..Cosigners::new(asked, quorum) };
        let origin = Origin::new("ledger.example", &LogName::LEDGER);
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1)));
        let log: Arc<dyn Log> = Arc::new(memory::Memory::new(LogName::LEDGER, origin.clone(), clock));
        append(&*log, 5).await;
        let tiles: Arc<dyn Tiles> = Arc::new(tiles::memory::Memory::new(log));
        tiles::grow(&*tiles, &mut None).await.unwrap();
        let head = TreeHead { origin: origin.clone(), size: TreeSize(3), root: tiles::root(&*tiles, TreeSize(3)).await.unwrap() };
        let checkpoint = Checkpoint::sign(head, &LogKey::from_seed(origin, &[7; 32]));
        Scene { witnesses, cosigners, tiles, checkpoint }
    }

    fn do_(&self, does: [Does; 3]) {
        for (witness, does) in self.witnesses.iter().zip(does) {
            witness.does(does);
        }
    }

    /// The numbers of those whose cosignatures hold.
    async fn cosigned(&self) -> Result<Vec<usize>, Error> {
        let cosigned = self.cosigners.cosign(&self.checkpoint, &*self.tiles).await?;
        let has = |place: &usize| !self.checkpoint.cosignatures(cosigned.note(), &[self.witnesses[*place - 1].verifier.clone()]).is_empty();
        Ok((1..=3).filter(has).collect())
    }

    fn asked(&self) -> [usize; 3] {
        [0, 1, 2].map(|place| self.witnesses[place].asked())
    }
}

#[tokio::test]
async fn everybodys_cosignature_is_taken_and_enough_are_enough() {
    let scene = Scene::wanting(2).await;
    assert_eq!(scene.cosigned().await, Ok(vec![1, 2, 3]));
    scene.do_([Does::Cosign, Does::Fail, Does::Cosign]);
    assert_eq!(scene.cosigned().await, Ok(vec![1, 3]));
    assert_eq!(scene.cosigners.contested(), None);
}

#[tokio::test]
async fn too_few_are_told_with_what_each_said() {
    let scene = Scene::wanting(2).await;
    scene.do_([Does::Cosign, Does::Fail, Does::Hang]);
    let told = "w2.example: the witness did not answer: it is ill; w3.example: no answer in time";
    assert_eq!(scene.cosigned().await, Err(Error::TooFew(told.to_owned())));
    scene.do_([Does::Cosign; 3]);
    assert_eq!(scene.cosigned().await, Ok(vec![1, 2, 3]), "everything goes on when they are back");
}

#[tokio::test]
async fn a_cosignature_by_another_key_is_none() {
    let scene = Scene::wanting(3).await;
    scene.do_([Does::Cosign, Does::Forge, Does::Cosign]);
    assert_eq!(scene.cosigned().await, Err(Error::TooFew("w2.example: its cosignature does not hold".to_owned())));
}

#[tokio::test]
async fn whoever_is_not_wanted_is_waited_for_no_longer_than_a_moment_and_then_left_alone_for_a_while() {
    let mut scene = Scene::wanting(2).await;
    scene.cosigners.patience.answer_max = Duration::from_secs(3600);
    scene.do_([Does::Cosign, Does::Hang, Does::Cosign]);
    for _ in 0..3 {
        assert_eq!(scene.cosigned().await, Ok(vec![1, 3]));
    }
    assert_eq!(scene.asked(), [3, 1, 3]);
    tokio::time::sleep(QUICK.rest).await;
    scene.do_([Does::Cosign; 3]);
    assert_eq!(scene.cosigned().await, Ok(vec![1, 2, 3]), "after the while it is asked again");
}

#[tokio::test]
async fn a_slow_witness_that_is_wanted_is_waited_for_and_asked_every_time() {
    let scene = Scene::wanting(3).await;
    scene.do_([Does::Cosign, Does::Hang, Does::Cosign]);
    for _ in 0..2 {
        assert!(matches!(scene.cosigned().await, Err(Error::TooFew(_))));
    }
    assert_eq!(scene.asked(), [2, 2, 2]);
}

#[tokio::test]
async fn where_nobody_is_wanted_what_comes_in_time_is_added() {
    let scene = Scene::wanting(0).await;
    scene.do_([Does::Hang, Does::Cosign, Does::Fail]);
    assert_eq!(scene.cosigned().await, Ok(vec![2]));
    scene.do_([Does::Hang; 3]);
    tokio::time::sleep(QUICK.rest).await;
    assert_eq!(scene.cosigned().await, Ok(vec![]));
}

#[tokio::test]
async fn a_log_is_refused_when_those_who_contradict_leave_too_few() {
    let scene = Scene::wanting(2).await;
    scene.do_([Does::Forked, Does::Ahead(6), Does::Cosign]);
    let told = "w1.example: the witness has cosigned another history of this log; \
                w2.example: the witness has cosigned a tree of 6 events, and this one is smaller: it was rolled back";
    assert_eq!(scene.cosigned().await, Err(Error::Contradicted(told.to_owned())));
    scene.do_([Does::Forked, Does::Fail, Does::Cosign]);
    assert_eq!(scene.cosigned().await, Err(Error::Contradicted(told.to_owned())), "whoever fails has taken nothing back");
    scene.do_([Does::Cosign, Does::Fail, Does::Cosign]);
    assert_eq!(scene.cosigned().await, Ok(vec![1, 3]));
    scene.do_([Does::Cosign; 3]);
    tokio::time::sleep(QUICK.rest).await;
    assert_eq!((scene.cosigned().await, scene.cosigners.contested()), (Ok(vec![1, 2, 3]), None));
}

#[tokio::test]
async fn one_liar_stops_nothing_that_goes_without_it_and_is_heard() {
    let scene = Scene::wanting(2).await;
    scene.do_([Does::Cosign, Does::Ahead(1000), Does::Cosign]);
    assert_eq!(scene.cosigned().await, Ok(vec![1, 3]));
    assert!(scene.cosigners.contested().unwrap().starts_with("w2.example: the witness has cosigned a tree of 1000 events"));
    // Beside one that is dead it is too few, and still no verdict over the log.
    scene.do_([Does::Cosign, Does::Ahead(1000), Does::Fail]);
    let told = scene.cosigned().await;
    assert!(matches!(&told, Err(Error::TooFew(said)) if said.contains("w2.example: the witness has cosigned a tree")), "{told:?}");
}

#[tokio::test]
async fn a_witness_that_is_required_counts_whatever_the_quorum_is() {
    let Scene { witnesses, cosigners, tiles, checkpoint } = Scene::wanting(0).await;
    let cosigners = cosigners.requiring(witnesses[1].verifier.clone());
    let scene = Scene { witnesses, cosigners, tiles, checkpoint };
    scene.do_([Does::Cosign, Does::Fail, Does::Cosign]);
    assert!(matches!(scene.cosigned().await, Err(Error::TooFew(_))));
    scene.do_([Does::Cosign, Does::Forked, Does::Cosign]);
    assert!(matches!(scene.cosigned().await, Err(Error::Contradicted(_))));
}

#[tokio::test]
async fn a_witness_that_saw_a_newer_checkpoint_of_another_process_contradicts_nothing() {
    let scene = Scene::wanting(3).await;
    scene.do_([Does::Ahead(5), Does::Cosign, Does::Cosign]);
    assert_eq!(scene.cosigned().await, Err(Error::TooFew("w1.example: the witness has cosigned a newer checkpoint".to_owned())));
    assert_eq!(scene.cosigners.contested(), None);
    scene.do_([Does::Ahead(6), Does::Cosign, Does::Cosign]);
    assert!(matches!(scene.cosigned().await, Err(Error::Contradicted(_))));
}

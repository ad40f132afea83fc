//! What we make, checked by Go's checksum database, from which the formats come and which shares nothing with our code or the crates it
//! is built on; and what that makes, checked by us. The program is `tests/go/main.go`; Debian has what it needs.

#![cfg(test)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use credence_ledger::chain::{self, Origin};
use credence_ledger::checkpoint::{Checkpoint, LogKey, TreeHead, VerifierKey};
use credence_ledger::tree::growth::Edge;
use credence_ledger::tree::proof::{Question, check_consistency, check_inclusion};
use credence_ledger::tree::tile::{Level, Sized, Tile};
use credence_ledger::tree::{Hash, TreeSize};
use credence_ledger::{LogName, Position};
use serde::{Deserialize, Serialize};

/// More than two levels of tiles, with a partial one at each.
const SIZE: u64 = 66_000;
const SIZES: [u64; 12] = [1, 2, 3, 255, 256, 257, 1000, 4096, 65_535, 65_536, 65_999, SIZE];
/// Where Debian puts Go's libraries.
const LIBRARIES: &str = "/usr/share/gocode";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Proof {
    from: u64,
    size: u64,
    hashes: Vec<String>,
}

/// What one side makes for the other.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Made {
    origin: String,
    key: String,
    note: String,
    entries: Vec<String>,
    roots: BTreeMap<u64, String>,
    inclusion: Vec<Proof>,
    consistency: Vec<Proof>,
    tiles: BTreeMap<String, String>,
}

struct Tree {
    events: Vec<chain::Hash>,
    tiles: BTreeMap<Tile, Vec<u8>>,
}

impl Tree {
    fn new() -> Tree {
        let events: Vec<chain::Hash> = (0..SIZE).map(|at| chain::event_hash(&at.to_be_bytes())).collect();
        let tiles = Edge::empty().grow(&events);
        Tree { events, tiles }
    }

    fn answer(&self, question: Question) -> Vec<Hash> {
        question.answer(&self.tiles).unwrap()
    }

    fn root(&self, size: u64) -> Hash {
        self.answer(Question::Root(TreeSize(size)))[0]
    }

    fn proof(&self, from: u64, size: u64, question: Question) -> Proof {
        Proof { from, size, hashes: self.answer(question).iter().map(ToString::to_string).collect() }
    }
}

fn origin() -> Origin {
    Origin::new("ledger.example", &LogName::LEDGER)
}

fn ours(tree: &Tree) -> Made {
    let key = LogKey::from_seed(origin(), &[7; 32]);
    let head = TreeHead { origin: origin(), size: TreeSize(SIZE), root: tree.root(SIZE) };
    let leaves = SIZES.iter().flat_map(|size| [0, size / 2, size - 1].map(|at| (at, *size)));
    let pairs = SIZES.iter().flat_map(|to| SIZES.iter().filter(move |from| *from <= to).map(move |from| (*from, *to)));
    let hashed = tree.tiles.iter().filter(|(tile, _)| tile.level != Level::Entries);
    Made {
        origin: origin().as_str().to_owned(),
        key: key.verifier().to_string(),
        note: Checkpoint::sign(head, &key).note().to_owned(),
        entries: tree.events.iter().map(|event| BASE64_STANDARD.encode(event.0)).collect(),
        roots: SIZES.iter().map(|size| (*size, tree.root(*size).to_string())).collect(),
        inclusion: leaves.map(|(at, size)| tree.proof(at, size, Question::Inclusion(Position(at), TreeSize(size)))).collect(),
        consistency: pairs.map(|(from, to)| tree.proof(from, to, Question::Consistency(TreeSize(from), TreeSize(to)))).collect(),
        tiles: hashed
            .map(|(tile, held)| (Sized { tile: *tile, width: held.len() / 32 }.to_string(), BASE64_STANDARD.encode(held)))
            .collect(),
    }
}

/// Has the program check what we made, and answers what it makes.
fn theirs(ours: &Made) -> Result<Made, String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go/main.go");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let mut go = Command::new("go");
    // As Debian means it: libraries from its packages, and nothing from the network.
    go.arg("run")
        .arg(program)
        .env("GO111MODULE", "off")
        .env("GOPATH", LIBRARIES)
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env("GOCACHE", cache);
    let needs = "this test needs Go and its checksum database; on Debian: apt-get install golang-go golang-golang-x-mod-dev (scripts/install-test-needs)";
    assert!(Path::new(LIBRARIES).join("src/golang.org/x/mod/sumdb/tlog").is_dir(), "{needs}");
    let mut running = go.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(needs);
    let mut input = running.stdin.take().unwrap();
    let text = serde_json::to_vec(ours).unwrap();
    // It reads all before it writes.
    let written = input.write_all(&text);
    drop(input);
    let output = running.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    written.unwrap();
    Ok(serde_json::from_slice(&output.stdout).unwrap())
}

fn hashes(texts: &[String]) -> Vec<Hash> {
    texts.iter().map(|text| Hash::from_base64(text).unwrap()).collect()
}

fn check(theirs: &Made, tree: &Tree) {
    let key: VerifierKey = theirs.key.parse().unwrap();
    let checkpoint = Checkpoint::parse(&theirs.note).unwrap();
    assert_eq!(checkpoint.verify(std::slice::from_ref(&key)).unwrap().logs, [key]);
    let root = |size: u64| Hash::from_base64(&theirs.roots[&size]).unwrap();
    assert_eq!(*checkpoint.head(), TreeHead { origin: origin(), size: TreeSize(SIZE), root: root(SIZE) });
    for Proof { from, size, hashes: proof } in &theirs.inclusion {
        let leaf = Hash::leaf(tree.events[usize::try_from(*from).unwrap()]);
        check_inclusion(&hashes(proof), TreeSize(*size), root(*size), Position(*from), leaf).unwrap();
    }
    for Proof { from, size, hashes: proof } in &theirs.consistency {
        check_consistency(&hashes(proof), (TreeSize(*from), root(*from)), (TreeSize(*size), root(*size))).unwrap();
    }
}

#[test]
fn another_implementation_takes_what_we_make_and_we_take_what_it_makes() {
    let tree = Tree::new();
    let ours = ours(&tree);
    let theirs = theirs(&ours).unwrap();
    check(&theirs, &tree);
    // There is one right answer to each question.
    assert_eq!((&theirs.roots, &theirs.inclusion, &theirs.consistency), (&ours.roots, &ours.inclusion, &ours.consistency));
    // It makes every partial tile on the way besides.
    let last = |(path, _): &(&String, &String)| !path.contains(".p/") || ours.tiles.contains_key(*path);
    assert!(theirs.tiles.iter().filter(last).eq(ours.tiles.iter()), "the tiles differ");
}

#[test]
fn another_implementation_refuses_what_does_not_hold() {
    let tree = Tree::new();
    let other = Hash([9; 32]).to_string();
    type Lie<'a> = (&'a str, &'a dyn Fn(&mut Made));
    let lies: [Lie<'_>; 5] = [
        ("checkpoint", &|made| made.note = made.note.replacen("\n66000\n", "\n65999\n", 1)),
        ("root", &|made| drop(made.roots.insert(1000, other.clone()))),
        ("inclusion", &|made| made.inclusion[20].hashes[0] = other.clone()),
        ("consistency", &|made| made.consistency[40].hashes[0] = other.clone()),
        ("tile", &|made| *made.tiles.get_mut("0/003").unwrap() = BASE64_STANDARD.encode([9; 8192])),
    ];
    for (lie, tell) in lies {
        let mut made = ours(&tree);
        tell(&mut made);
        assert!(theirs(&made).is_err(), "{lie}");
    }
}

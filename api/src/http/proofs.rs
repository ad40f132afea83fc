//! `/v1/logs/{log}`: what shows that a log only ever grew. Checkpoints and tiles by C2SP tlog-tiles, the keys that they are checked
//! with, and proofs made of tiles for those who do not want to.
//!
//! The ledger's are for everybody: entries are hashes of events that hold 16 random bytes each. The audit log's are for auditors, unless the
//! configuration says otherwise: how fast it grows tells how much is verified.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use credence_ledger::checkpoint::VerifierKey;
use credence_ledger::tree::TreeSize;
use credence_ledger::tree::tile::{HASH_LENGTH, Level, Sized};
use credence_ledger::{LogName, Position, store};
use utoipa_axum::routes;

use super::headers::Path;
use super::problem::{Kind, Problem, problems};
use super::query::Parameters;
use super::{Part, Route};
use crate::caller::Caller;
use crate::proofs::LogProofs;
use crate::services::{App, Services};
use crate::wire::proof::{ConsistencyProof, InclusionProof, in_hex};

/// What a tile holds never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";
/// A checkpoint is followed by another one soon.
const FOR_A_MOMENT: &str = "max-age=1";
const TEXT: &str = "text/plain; charset=utf-8";

pub(crate) fn routes() -> Vec<Route> {
    vec![
        // Whoever follows a log reads thousands of tiles. Proofs are made for one who asks, of many of them.
        Route::new(Part::Proofs, routes!(read_checkpoint)).free(),
        Route::new(Part::Proofs, routes!(read_tile)).free(),
        Route::new(Part::Proofs, routes!(read_keys)).free(),
        Route::new(Part::Proofs, routes!(prove_inclusion)),
        Route::new(Part::Proofs, routes!(prove_consistency)),
    ]
}

problems! {
    /// What can keep a tree from being read.
    Refusals: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, TIMEOUT, VALIDATION_FAILED, STORE_UNAVAILABLE, INTERNAL
}

/// For how long an answer may be kept, and by whom: what not everybody may see, no cache between may hand to anybody.
fn cached(app: &Services, tree: &LogProofs, time: &str) -> String {
    let is_public = *tree.tiles.log() != LogName::AUDIT || app.proofs.audit_is_public;
    format!("{}, {time}", if is_public { "public" } else { "private" })
}

/// The log's tree, if it is this caller's to see.
fn tree<'a>(app: &'a Services, caller: &Caller, name: &str) -> Result<&'a LogProofs, Problem> {
    let log: LogName = name.parse().map_err(|_| Problem::new(Kind::NOT_FOUND))?;
    if log == LogName::AUDIT && !app.proofs.audit_is_public {
        let principal = caller.known()?;
        if !principal.sees_everything() {
            return Err(Problem::new(Kind::FORBIDDEN));
        }
    }
    Ok(app.proofs.of(&log))
}

/// Read the log's newest checkpoint.
///
/// A signed note (C2SP tlog-checkpoint): the log's origin, how many events its tree stands for, and the tree's root. 404 before the first
/// one was published.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/checkpoint",
    tag = "Proofs",
    params(("log" = String, Path, description = "`ledger` or `audit`")),
    responses((status = 200, description = "The checkpoint", body = String, content_type = "text/plain"), Refusals),
)]
async fn read_checkpoint(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let tree = tree(&app, &caller, &name)?;
    parameters.finish()?;
    let published = tree.tiles.latest().await?.ok_or_else(|| Problem::new(Kind::NOT_FOUND).detail("no checkpoint was published yet"))?;
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, &cached(&app, tree, FOR_A_MOMENT))], published.note).into_response())
}

/// Read a tile of the log's tree, or a bundle of its entries.
///
/// Paths are those of C2SP tlog-tiles: `0/x001/x234/067`, `1/000.p/17`, `entries/273.p/112`. A tile holds hashes of 32 bytes; a
/// bundle holds entries, which are event hashes, each after its length in two bytes.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/tile/{*tile}",
    tag = "Proofs",
    params(
        ("log" = String, Path, description = "`ledger` or `audit`"),
        ("tile" = String, Path, description = "Level, number and width; it holds slashes"),
    ),
    responses((status = 200, description = "The tile", body = Vec<u8>, content_type = "application/octet-stream"), Refusals),
)]
async fn read_tile(
    State(app): State<App>,
    caller: Caller,
    Path((name, path)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let tree = tree(&app, &caller, &name)?;
    parameters.finish()?;
    let Sized { tile, width } = path.parse().map_err(|_| Problem::new(Kind::NOT_FOUND))?;
    let held = tree.tiles.read(&[tile]).await?.pop().flatten().unwrap_or_default();
    let hashes = held.get(..width * HASH_LENGTH).ok_or_else(|| Problem::new(Kind::NOT_FOUND))?;
    let bytes = match tile.level {
        Level::Hashes(_) => hashes.to_vec(),
        Level::Entries => bundle(hashes),
    };
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, &cached(&app, tree, FOR_EVER))], bytes).into_response())
}

fn bundle(hashes: &[u8]) -> Vec<u8> {
    let length: [u8; 2] = [0, 32];
    hashes.chunks(HASH_LENGTH).flat_map(|entry| length.iter().chain(entry)).copied().collect()
}

/// Read the keys that the log's checkpoints are checked with.
///
/// Verifier keys of signed notes, one a line, newest first: the file that `credence verify --key` takes. Fetch them once, from a
/// place that you trust; what a log says of its own keys proves nothing.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/keys",
    tag = "Proofs",
    params(("log" = String, Path, description = "`ledger` or `audit`")),
    responses((status = 200, description = "The keys", body = String, content_type = "text/plain"), Refusals),
)]
async fn read_keys(State(app): State<App>, caller: Caller, Path(name): Path<String>, parameters: Parameters) -> Result<Response, Problem> {
    let tree = tree(&app, &caller, &name)?;
    parameters.finish()?;
    let keys = app.vault.log_keys(tree.tiles.log()).await?;
    let mut text = String::new();
    for key in keys.iter().rev() {
        let corrupt = || store::Error::Corrupt(format!("key {} of {} is none", key.number, tree.tiles.log()));
        let key = VerifierKey::of_log(tree.tiles.origin(), &key.public).ok_or_else(corrupt)?;
        text.push_str(&format!("{key}\n"));
    }
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, &cached(&app, tree, FOR_A_MOMENT))], text).into_response())
}

/// Prove that an event is in the log's tree.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/proofs/inclusion",
    tag = "Proofs",
    params(
        ("log" = String, Path, description = "`ledger` or `audit`"),
        ("position" = u64, Query, description = "The event's position"),
        ("size" = Option<u64>, Query, description = "The tree's size; without it that of the newest checkpoint"),
    ),
    responses((status = 200, description = "The proof", body = InclusionProof), Refusals),
)]
async fn prove_inclusion(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    mut parameters: Parameters,
) -> Result<Answer<InclusionProof>, Problem> {
    let tree = tree(&app, &caller, &name)?;
    let (position, size) = (size(&mut parameters, "position"), size(&mut parameters, "size"));
    if position.is_none() {
        parameters.require("position");
    }
    parameters.finish()?;
    let size = reached(tree, "size", size).await?;
    let position = Position(position.unwrap_or_default());
    if !size.covers(position) {
        return Err(Problem::field("position", "range", format!("expected less than {size}")));
    }
    let (event_hash, proof, root) = tree.inclusion(position, size).await?;
    Ok(Answer(InclusionProof {
        position: tree.tiles.log().at(position).to_string(),
        event_hash: event_hash.to_string(),
        size: size.0,
        root: hex::encode(root.0),
        proof: in_hex(&proof),
    }))
}

/// Prove that the log's tree begins with a smaller one.
#[utoipa::path(
    get,
    path = "/v1/logs/{log}/proofs/consistency",
    tag = "Proofs",
    params(
        ("log" = String, Path, description = "`ledger` or `audit`"),
        ("from" = u64, Query, description = "The smaller tree's size"),
        ("to" = Option<u64>, Query, description = "The larger tree's size; without it that of the newest checkpoint"),
    ),
    responses((status = 200, description = "The proof", body = ConsistencyProof), Refusals),
)]
async fn prove_consistency(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    mut parameters: Parameters,
) -> Result<Answer<ConsistencyProof>, Problem> {
    let tree = tree(&app, &caller, &name)?;
    let (from, to) = (size(&mut parameters, "from"), size(&mut parameters, "to"));
    if from.is_none() {
        parameters.require("from");
    }
    parameters.finish()?;
    let to = reached(tree, "to", to).await?;
    let from = TreeSize(from.unwrap_or_default());
    if from > to {
        return Err(Problem::field("from", "range", format!("expected at most {to}")));
    }
    let (old, new, proof) = tree.consistency(from, to).await?;
    Ok(Answer(ConsistencyProof::new((from, old), (to, new), &proof)))
}

fn size(parameters: &mut Parameters, name: &str) -> Option<u64> {
    parameters.integer(name, 0, TreeSize::MAX.0)
}

/// The size asked for, if the tree has reached it; or the newest checkpoint's.
async fn reached(tree: &LogProofs, name: &str, asked: Option<u64>) -> Result<TreeSize, Problem> {
    let Some(asked) = asked.map(TreeSize) else {
        return Ok(tree.tiles.latest().await?.map_or(TreeSize::EMPTY, |latest| latest.size));
    };
    let grown = tree.tiles.size().await?;
    if asked > grown {
        Err(Problem::field(name, "range", format!("expected at most {grown}, which the tree has reached")))
    } else {
        Ok(asked)
    }
}

//! What sealing and the subject look-up cost an issuance: the product beside a build of it that does neither, in turns.

use crate::Extent;
use crate::engine::{Engine, Store};
use crate::generator::{self, Target, Window};
use crate::product::Server;
use crate::report::{Book, Bound, median};
use crate::requests::Issuance;

const CONNECTIONS: usize = 64;
const SEALED: &str = "issue, 64 connections";
const UNSEALED: &str = "the same in clear";
/// More of the rate than this is not to be paid.
const COST_MAX: f64 = 0.15;

/// Measures both in turns, each on a fresh store of its own, and hands over the product's.
pub(crate) async fn measure(engine: &Engine, extent: Extent, book: &mut Book) -> Store {
    let (store, other) = (engine.store().await, engine.store().await);
    let (sealed, unsealed) = (Server::start(&store), Server::start_unsealed(&other));
    let of = |server: &Server| Target::with_key(&server.address, &server.key);
    let both = [(SEALED, of(&sealed)), (UNSEALED, of(&unsealed))];
    for round in 1..=2 * extent.rounds {
        eprintln!("{}: round {round} of {}", engine.name(), 2 * extent.rounds);
        // Each comes first as often as the other.
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (what, target) = &both[at];
            let (run, _) = generator::closed(target, Issuance::scripts(CONNECTIONS), Window::of(extent.time)).await;
            book.run(what, run);
        }
    }
    book.ratio(SEALED, UNSEALED, Some(Bound::AtLeast(1.0 - COST_MAX)));
    let costs: Vec<f64> = book.ratios(SEALED).iter().map(|ratio| 100.0 * (1.0 - ratio)).collect();
    let told: Vec<String> = costs.iter().map(|cost| format!("{cost:.1}")).collect();
    let cost = median(costs).expect("there are rounds");
    println!(
        "\n{}: sealing and the subject look-up cost an issuance {cost:.1} % of its rate (aim: at most {:.0} %; by rounds: {})",
        engine.name(),
        100.0 * COST_MAX,
        told.join(", ")
    );
    sealed.stop();
    unsealed.stop();
    store
}

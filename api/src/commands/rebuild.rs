//! `credence rebuild`: read models built anew beside those that serve, or only compared with the log.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use credence_ledger::event::new_id;
use credence_projections::check;
use credence_projections::projection::Projection;
use credence_projections::projector::Projector;
use credence_projections::read_store::{Phase, Rebuild};
use credence_projections::rebuild::{Observer, Options as How};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::{open, output};
use crate::caller::Caller;
use crate::config::StoreOptions;
use crate::services::App;
use crate::use_cases::rebuild;

/// What `rebuild` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which: verification, history [default: all].
    #[arg(value_name = "PROJECTION")]
    projections: Vec<Projection>,
    /// Only compare: a difference a line, and nothing is changed.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    stores: StoreOptions,
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let app = open::services(&config).await?;
    let mut projections = if options.projections.is_empty() { Projection::ALL.to_vec() } else { options.projections.clone() };
    projections.sort_unstable();
    projections.dedup();
    let cancel = CancellationToken::new();
    let interruption = tokio::spawn(cancel_when_interrupted(cancel.clone()));
    let mut is_ok = true;
    for projection in projections {
        if options.check {
            is_ok &= compare(app.projector(projection)?, &cancel).await?;
        } else {
            build(&app, projection, &cancel).await?;
        }
    }
    interruption.abort();
    Ok(ExitCode::from(u8::from(!is_ok)))
}

/// What was built is kept, and the next rebuild goes on from there.
pub(super) async fn cancel_when_interrupted(cancel: CancellationToken) {
    if super::interrupted().await.is_ok() {
        cancel.cancel();
    }
}

fn how(projector: &Projector, what: &str, cancel: &CancellationToken) -> How {
    let progress = Mutex::new(Progress::new(format!("{what} {}", projector.projection)));
    let observer = move |rebuild: &Rebuild| {
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.at(rebuild.phase.as_str(), rebuild.done, rebuild.total);
    };
    How { cancel: cancel.clone(), observer: Arc::new(observer), ..How::new(new_id(&projector.clock, &projector.random)) }
}

/// When a rebuild began, and when it came to comparing: what is built is only then complete.
struct Watch {
    began: Instant,
    comparing: Mutex<Option<Instant>>,
}

impl Watch {
    fn start() -> Arc<Watch> {
        Arc::new(Watch { began: Instant::now(), comparing: Mutex::default() })
    }

    /// The same observer, watched.
    fn over(self: &Arc<Watch>, observer: Observer) -> Observer {
        let watch = Arc::clone(self);
        Arc::new(move |rebuild: &Rebuild| {
            if rebuild.phase == Phase::Comparing {
                watch.comparing.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            }
            observer(rebuild);
        })
    }

    /// How long it has been building, and how long comparing.
    fn times(&self) -> (Duration, Duration) {
        let now = Instant::now();
        let comparing = self.comparing.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(now);
        (comparing - self.began, now - comparing)
    }
}

async fn build(app: &App, projection: Projection, cancel: &CancellationToken) -> anyhow::Result<()> {
    let caller = Caller::operator("credence rebuild");
    let watch = Watch::start();
    let projector = app.projector(projection)?;
    let mut how = how(&projector, "rebuild", cancel);
    how.observer = watch.over(how.observer);
    let job = rebuild::begin(app, &caller, projector, how).await?;
    let generation = job.generation();
    if job.taken_up() > 0 {
        // Nobody may be reading; that must not stop the work.
        let _ = writeln!(std::io::stderr(), "rebuild {projection}: resumes generation {generation} after {} events", job.taken_up());
    }
    let rebuilt = rebuild::run(app, &caller, job).await?;
    let (building, comparing) = watch.times();
    let compared = match rebuilt.equal {
        Some(true) => "equal to the one before",
        Some(false) => "DIFFERENT from the one before, which it replaces",
        None => "not compared",
    };
    let times = format!("built in {:.3} s, compared in {:.3} s", building.as_secs_f64(), comparing.as_secs_f64());
    output::write(format!("{projection}: {} events, generation {generation} serves, {compared}; {times}\n", rebuilt.done))
        .or_else(output::unless_closed)
}

/// Answers whether what serves is what the log says, and is not stopped.
pub(super) async fn compare(projector: Projector, cancel: &CancellationToken) -> anyhow::Result<bool> {
    let (projection, how) = (projector.projection, how(&projector, "check", cancel));
    let mut written = Ok(());
    let tell = |difference: check::Difference| {
        if written.is_ok() {
            written = output::write(format!("{difference}\n"));
        }
    };
    let checked = check::check(projector, how, tell).await?;
    written.and_then(|()| output::write(format!("{projection}: {checked}\n"))).or_else(output::unless_closed)?;
    Ok(checked.is_ok())
}

//! `credence erase`: a person erased, on the stores themselves, whether or not a service runs on them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use credence_ledger::subject;
use credence_projections::projection::Projection;
use credence_projections::runner::{self, Runner};

use super::{argument, open, output};
use crate::caller::Caller;
use crate::config::{self, StoreOptions};
use crate::services::Services;
use crate::use_cases::Error;
use crate::use_cases::subjects::erase::{self, EraseSubjects, Erasure};
use crate::wire::credential::{EMAIL, NAME, REASON};
use crate::wire::erasure::ErasureBody;
use crate::wire::key::ISSUER;

/// How long it is waited for the read model, at the beginning and at the end.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What `erase` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The person's e-mail address.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    email: String,
    /// Its name; else everybody with the address.
    #[arg(long, value_name = "NAME", value_parser = argument::text(&NAME))]
    name: Option<String>,
    /// The organisation whose subject it is; else all.
    #[arg(long, value_name = "NAME", value_parser = argument::text(&ISSUER))]
    issuer: Option<String>,
    /// Why; it is kept sealed in the audit log.
    #[arg(long, value_name = "TEXT", value_parser = argument::text(&REASON))]
    reason: String,
    /// Only tell what would be erased.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    stores: StoreOptions,
}

fn address(text: &str) -> Result<String, String> {
    let address = argument::text(&EMAIL)(text)?;
    if subject::email_is_plausible(&address) { Ok(address) } else { Err("expected an e-mail address such as ada@example.org".to_owned()) }
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    let services = open::services_that_wait(&config, WAIT_MAX).await?;
    // Where no service runs nobody else would bring the read model up to the ledger; where one does this stands by.
    let runner = Runner::start(services.projector(Projection::Verification)?, runner::Options::default());
    // A read model that is not there is being built.
    let built = async {
        while services.wait_for(Projection::Verification, None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(WAIT_MAX, built).await;
    let command = EraseSubjects {
        email: options.email.clone(),
        name: options.name.clone(),
        issuer: options.issuer.clone(),
        reason: options.reason.clone(),
        dry_run: options.dry_run,
    };
    let erased = erase::erase(&services, &Caller::operator("credence erase"), &command, None).await;
    runner.stop().await;
    let erased = erased.map_err(|error| match error {
        Error::NoSuchIssuer => config::Error { source_name: "--issuer".to_owned(), problem: error.to_string() }.into(),
        other => anyhow::Error::from(other),
    })?;
    output::write(told(&services, &erased, options.dry_run))?;
    Ok(ExitCode::SUCCESS)
}

/// A subject a line, its credentials below, then what was done.
fn told(services: &Services, erased: &Erasure, dry_run: bool) -> String {
    let body = ErasureBody::new(erased, dry_run, &services.worker);
    let mut text = String::new();
    for subject in &body.subjects {
        let place = subject.position.as_deref().unwrap_or("-");
        let _ = writeln!(text, "subject/{}  {}  {place}", subject.id, subject.issuer);
        for credential in &subject.credentials {
            let _ = writeln!(text, "  credential/{credential}");
        }
    }
    let _ = writeln!(text, "{}", body.message);
    if body.read_models == Some(crate::wire::erasure::Purge::Pending) {
        let _ = writeln!(text, "the read models have not followed yet: a service that issues sees it through");
    }
    text
}

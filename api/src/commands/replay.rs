//! `credence replay`: a log's events on standard output, of any number in bounded memory.

use std::ffi::OsString;
use std::future::pending;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use credence_ledger::codec::sequence;
use credence_ledger::event::{Metadata, Recorded};
use credence_ledger::log::Log;
use credence_ledger::vault::Vault;
use credence_ledger::{LogName, Position, Stream, Timestamp};
use futures::stream::{StreamExt as _, TryStreamExt as _};

use super::{open, output};
use crate::caller::Caller;
use crate::config::{self, StoreOptions};
use crate::long_reads::LongReads;
use crate::use_cases::audit;
use crate::use_cases::replay::{self, Selection};
use crate::wire::event::{Event, Keys};

/// What `replay` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which log: ledger or audit.
    #[arg(long, value_name = "LOG", default_value = "ledger")]
    log: LogName,
    /// From this position on, inclusive.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Up to this position, inclusive.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Recorded at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Recorded before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Of this stream only, such as credential/0198c5a2-0000-7000-8000-000000000001.
    #[arg(long, value_name = "STREAM")]
    stream: Option<Stream>,
    /// Of this type only, such as CredentialIssued.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// A table for people, one JSON object a line, or a CBOR sequence of exactly what is stored.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Show what is sealed (JSON only); this is recorded in the audit log.
    #[arg(long)]
    open: bool,
    /// Go on with events as they come, until interrupted.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    stores: StoreOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Cbor,
}

impl Options {
    fn selection(&self) -> Selection {
        Selection {
            from: self.from.map(Position),
            to: self.to.map(Position),
            stream: self.stream.clone(),
            kind: self.kind.clone(),
            since: self.since,
            until: self.until,
            limit: None,
        }
    }
}

pub(super) async fn run(options: &Options, environment: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<ExitCode> {
    let config = open::config(&options.stores, environment)?;
    if options.open && options.format != Format::Json {
        let problem = "goes with --format json: a table shows nothing that is sealed, and CBOR is exactly what is stored".to_owned();
        return Err(config::Error { source_name: "--open".to_owned(), problem }.into());
    }
    if !options.open {
        let log = open::log(&config, options.log.clone()).await?;
        return print(options, Printer { format: options.format, log: &*log, vault: None }, log.clone()).await;
    }
    let app = open::services(&config).await?;
    let log = app.log(&options.log)?.log.clone();
    audit::personal_data_read(&app, &Caller::operator("credence replay --open"), options.stream.as_ref()).await?;
    print(options, Printer { format: options.format, log: &*log, vault: Some(&*app.vault) }, log.clone()).await
}

async fn print(options: &Options, printer: Printer<'_>, log: Arc<dyn Log>) -> anyhow::Result<ExitCode> {
    let selection = options.selection();
    output::write(printer.start(selection.start()))?;
    let reads = Arc::new(LongReads::new(log));
    let mut pages =
        if options.follow { replay::follow(reads, selection, None).boxed() } else { replay::events(reads, selection, None).boxed() };
    // Whoever follows ends it so; a replay that is cut off is not done, and ends as the signal has it.
    let mut interrupted = pin!(async { if options.follow { super::interrupted().await } else { pending().await } });
    loop {
        let page = tokio::select! {
            page = pages.try_next() => page?,
            result = &mut interrupted => result.map(|()| None)?,
        };
        let Some(page) = page else { return Ok(ExitCode::SUCCESS) };
        output::write(printer.page(&page).await?)?;
    }
}

/// Writes pages of events in one format. Each is flushed whole, so that whoever follows sees events as they come.
struct Printer<'a> {
    format: Format,
    log: &'a dyn Log,
    /// Opens what is sealed.
    vault: Option<&'a dyn Vault>,
}

impl Printer<'_> {
    fn start(&self, from: Position) -> Vec<u8> {
        match self.format {
            Format::Table => row(["POSITION", "RECORDED AT", "TYPE", "STREAM", "VERSION", "ACTOR"]),
            Format::Json => Vec::new(),
            Format::Cbor => sequence::start(self.log.name(), from, self.log.origin()),
        }
    }

    async fn page(&self, page: &[Recorded]) -> anyhow::Result<Vec<u8>> {
        Ok(match self.format {
            Format::Table => page.iter().flat_map(|event| table_row(self.log.name(), event)).collect(),
            Format::Json => self.lines(page).await?,
            Format::Cbor => page.iter().flat_map(sequence::item).collect(),
        })
    }

    async fn lines(&self, page: &[Recorded]) -> anyhow::Result<Vec<u8>> {
        let found = match self.vault {
            Some(vault) => Some(replay::keys_of(vault, self.log, page).await?),
            None => None,
        };
        let keys = found.as_ref().map_or(Keys::Unknown, Keys::Open);
        let mut lines = Vec::new();
        for event in page {
            serde_json::to_writer(&mut lines, &Event::new(self.log.name(), self.log.origin(), event, keys))?;
            lines.push(b'\n');
        }
        Ok(lines)
    }
}

fn table_row(log: &LogName, event: &Recorded) -> Vec<u8> {
    let actor = event.metadata().map_or_else(|_| "?".to_owned(), |Metadata { actor, .. }| actor);
    row([
        &log.at(event.position).to_string(),
        &event.recorded_at.to_string(),
        &event.kind,
        event.stream.as_str(),
        &event.version.to_string(),
        &actor,
    ])
}

/// Wide enough for what is usual; what is longer pushes the rest of its line to the right.
fn row([position, time, kind, stream, version, actor]: [&str; 6]) -> Vec<u8> {
    format!("{position:<14}  {time:<27}  {kind:<20}  {stream:<49}  {version:>7}  {actor}\n").into_bytes()
}

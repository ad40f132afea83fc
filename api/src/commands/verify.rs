//! `credence verify`: checks offline what somebody holds: a document, a receipt, or a whole log as a file. It asks nobody; what it
//! trusts are the keys that it is given.
//!
//! Exit status 0 when all of it holds and is signed by a key that is trusted, 1 otherwise.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use credence_ledger::checkpoint::{self, Checkpoint, Signers, VerifierKey};
use credence_ledger::clock::SystemClock;
use credence_ledger::document::{self, proof};
use credence_ledger::event::Payload as _;
use credence_ledger::event::credential::CredentialIssued;
use credence_ledger::export::{Item, ReadError, Reader};
use credence_ledger::receipt::{self, Fact, Receipt};
use credence_ledger::tree::TreeSize;
use credence_ledger::{Clock as _, LogName, Position, codec, json};
use serde_json::Value;

use super::output;
use super::progress::Progress;
use crate::config;

/// A document or a receipt is no longer than this; an export may be of any length.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// What `verify` takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// A document, a receipt (as it was answered, or as a tlog-proof), or an export of a log.
    file: PathBuf,
    /// The receipt of a document: that its issuance is in a log.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Keys that are trusted, one a line: verifier keys as `/v1/logs/ledger/keys` tells them, or issuers' `did:key`s. May be given again.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

/// What is trusted.
#[derive(Default)]
struct Trusted {
    logs: Vec<VerifierKey>,
    dids: Vec<String>,
}

/// What was found: what holds, or why it does not.
type Verdict = Result<Holds, String>;

/// What holds, for people, and whether a key that is trusted says so.
struct Holds {
    told: Vec<String>,
    trusted: bool,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let trusted = Trusted::read(&options.key)?;
    let verdict = match text(&options.file, "FILE")? {
        Some(text) => of_text(&text, options.receipt.as_deref(), &trusted)?,
        None if options.receipt.is_some() => Err("it is no document, which a receipt could be of".to_owned()),
        None => of_export(&options.file, &trusted)?,
    };
    let file = options.file.display();
    let (mut lines, code) = match verdict {
        Ok(holds) => {
            let standing = if holds.trusted { "ok" } else { "consistent, signer unknown" };
            (holds.told.into_iter().chain([standing.to_owned()]).collect(), u8::from(!holds.trusted))
        }
        Err(reason) => (vec![format!("does not hold: {reason}")], 1),
    };
    let told = lines.drain(..).fold(String::new(), |mut told, line| {
        let _ = writeln!(told, "{file}: {line}");
        told
    });
    output::write(told)?;
    Ok(ExitCode::from(code))
}

fn refused(option: &str, problem: String) -> config::Error {
    config::Error { source_name: option.to_owned(), problem }
}

/// What the file holds, if it is a text; an export is none.
fn text(path: &Path, option: &str) -> Result<Option<String>, config::Error> {
    let unreadable = |error: std::io::Error| refused(option, format!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(String::from_utf8(bytes).ok())
}

impl Trusted {
    fn read(files: &[PathBuf]) -> Result<Trusted, config::Error> {
        let mut trusted = Trusted::default();
        for file in files {
            let text = fs::read_to_string(file).map_err(|error| refused("--key", format!("{} cannot be read: {error}", file.display())))?;
            for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
                let line = line.trim();
                if line.starts_with("did:key:") {
                    trusted.dids.push(line.to_owned());
                } else {
                    let malformed = |error| refused("--key", format!("{}, line {number}: {error}", file.display()));
                    trusted.logs.push(line.parse().map_err(|error: checkpoint::MalformedKey| malformed(error))?);
                }
            }
        }
        Ok(trusted)
    }
}

fn of_text(text: &str, receipt: Option<&Path>, trusted: &Trusted) -> Result<Verdict, config::Error> {
    if let Some(held) = receipt_of(text, false) {
        return Ok(if receipt.is_some() {
            Err("it is no document, which a receipt could be of".to_owned())
        } else {
            of_receipt(&held, trusted).map(|(_, holds)| holds)
        });
    }
    let document = match json::parse(text.as_bytes()) {
        // As it was answered, or as its holder keeps it.
        Ok(Value::Object(mut answered)) => match answered.remove("document") {
            Some(document @ Value::Object(_)) => document,
            _ => Value::Object(answered),
        },
        _ => return Ok(Err("it is no document, receipt or export".to_owned())),
    };
    let receipt = match receipt {
        Some(path) => {
            let held = self::text(path, "--receipt")?.as_deref().and_then(|text| receipt_of(text, true));
            Some(held.ok_or_else(|| refused("--receipt", format!("{} is no receipt", path.display())))?)
        }
        None => None,
    };
    Ok(of_document(&document, receipt.as_ref(), trusted))
}

/// A tlog-proof, by itself or in the JSON that it was answered in; also in the answer to an act, if `within_an_answer`.
fn receipt_of(text: &str, within_an_answer: bool) -> Option<Receipt> {
    if let Ok(receipt) = text.parse() {
        return Some(receipt);
    }
    let answered: Value = serde_json::from_str(text).ok()?;
    let of_act = || answered.get("receipt").filter(|_| within_an_answer)?.get("tlog_proof");
    answered.get("tlog_proof").or_else(of_act)?.as_str()?.parse().ok()
}

fn of_receipt(held: &Receipt, trusted: &Trusted) -> Result<(Fact, Holds), String> {
    held.check().map_err(|wrong| wrong.to_string())?;
    let fact = receipt::read(&held.content).map_err(|_| "what it is of is no event".to_owned())?;
    let head = held.checkpoint.head();
    let signers = signers(&held.checkpoint, &trusted.logs)?;
    let place = format!(
        "{} of {}, recorded at {}, is at position {} of {}",
        fact.kind,
        fact.stream,
        fact.recorded_at,
        held.position,
        head.origin.as_str()
    );
    let mut told = vec![place, format!("its tree of {} events has the root {}", head.size, head.root)];
    told.extend(named(&signers));
    Ok((fact, Holds { told, trusted: !signers.logs.is_empty() }))
}

/// Whose signatures hold; of nobody when no key is known that signed it.
fn signers(checkpoint: &Checkpoint, known: &[VerifierKey]) -> Result<Signers, String> {
    match checkpoint.verify(known) {
        Ok(signers) => Ok(signers),
        Err(checkpoint::Error::UnknownSigner) => Ok(Signers::default()),
        Err(wrong) => Err(wrong.to_string()),
    }
}

fn named(signers: &Signers) -> Vec<String> {
    let logs = signers.logs.iter().map(|key| format!("its checkpoint is signed by {key}"));
    let witnesses =
        signers.witnesses.iter().map(|(key, time)| format!("its checkpoint was cosigned by {} at {time} s since 1970", key.name()));
    logs.chain(witnesses).collect()
}

fn of_document(document: &Value, receipt: Option<&Receipt>, trusted: &Trusted) -> Verdict {
    let (mut told, mut is_trusted) = (Vec::new(), false);
    match proof::check_by_issuer(document, SystemClock.now()) {
        Ok(did) => {
            is_trusted = trusted.dids.contains(&did);
            told.push(format!("it is signed by {did}"));
        }
        // Documents had none once, and a receipt says as much.
        Err(proof::Error::Missing) if receipt.is_some() => told.push("it carries no proof of its issuer's".to_owned()),
        Err(wrong) => return Err(wrong.to_string()),
    }
    if let Some(receipt) = receipt {
        let (fact, holds) = of_receipt(receipt, trusted)?;
        of_its_issuance(document, &fact)?;
        told.extend(holds.told.into_iter().map(|line| format!("receipt: {line}")));
        is_trusted |= holds.trusted;
    }
    Ok(Holds { told, trusted: is_trusted })
}

/// Whether the receipt's event is the issuance of this document.
fn of_its_issuance(document: &Value, fact: &Fact) -> Result<(), String> {
    let other = || format!("the receipt is of {} of {}, not of the issuance of this document", fact.kind, fact.stream);
    if fact.kind != CredentialIssued::TYPE || fact.schema != CredentialIssued::SCHEMA {
        return Err(other());
    }
    let issued: CredentialIssued = codec::decode(&fact.payload).map_err(|_| other())?;
    let is_its = document["id"] == format!("urn:uuid:{}", fact.stream.id());
    if is_its && *issued.digest == document::digest(document) { Ok(()) } else { Err(other()) }
}

fn of_export(path: &Path, trusted: &Trusted) -> Result<Verdict, config::Error> {
    let unreadable = |error: std::io::Error| refused("FILE", format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    match read_export(file, trusted) {
        Ok(verdict) => Ok(verdict),
        Err(ReadError::Io(error)) => Err(unreadable(error)),
        Err(ReadError::Invalid(invalid)) => Ok(Err(chain(&invalid))),
    }
}

fn read_export(file: File, trusted: &Trusted) -> Result<Verdict, ReadError> {
    let mut reader = Reader::open(file)?;
    let (log, origin) = (reader.verifier().log().clone(), reader.verifier().origin().clone());
    let mut progress = Progress::new(format!("verify {log}"));
    let (mut events, mut signed, mut checkpoints) = (0, None, 0);
    while let Some(item) = reader.next()? {
        match item {
            Item::Event(event) => {
                events = event.position.0 + 1;
                progress.at("checking", events, events);
            }
            Item::Checkpoint(kept) => {
                checkpoints += 1;
                let Ok(checkpoint) = Checkpoint::parse(&kept.note) else {
                    return Ok(Err(format!("checkpoint {} is none", checkpoints - 1)));
                };
                match signers(&checkpoint, &trusted.logs) {
                    Ok(signers) if !signers.logs.is_empty() => signed = Some(checkpoint.head().size),
                    Ok(_) => {}
                    Err(wrong) => return Ok(Err(format!("checkpoint {} of {} events: {wrong}", checkpoints - 1, kept.size))),
                }
            }
            Item::Footer(_) => {}
        }
    }
    drop(progress);
    let mut told = vec![format!("{events} events of {}, {checkpoints} checkpoints", origin.as_str())];
    told.extend(signed.map(|size| covered(&log, size, events)));
    Ok(Ok(Holds { told, trusted: signed.is_some() }))
}

fn covered(log: &LogName, size: TreeSize, events: u64) -> String {
    match size.0.checked_sub(1) {
        Some(last) if size.0 < events => {
            format!("a trusted checkpoint covers it up to {}, but not the {} events after that", log.at(Position(last)), events - size.0)
        }
        _ => "a trusted checkpoint covers all of it".to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let links: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    links.join(": ")
}

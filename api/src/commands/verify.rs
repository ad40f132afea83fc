//! `credence verify`: checks offline what somebody holds: a document, a receipt, or a whole log as a file. It asks nobody; what it
//! trusts are the keys that it is given.
//!
//! Exit status 0 when all of it holds and is signed by a key that is trusted, 1 otherwise.

use std::fmt::Write as _;
use std::fs::File;
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
use serde_json::{Map, Value, json};

use super::output;
use super::progress::Progress;
use crate::config;
use crate::wire::proof::ReceiptBody;

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

/// What a file is. It is told by how it begins, once: nothing that is one thing can be taken for another.
enum Kind {
    Document(Value),
    /// As an act was answered: the document in it, and the receipt if it has one.
    Answer {
        document: Value,
        receipt: Option<Receipt>,
    },
    Receipt(Receipt),
    Export,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let trusted = Trusted::read(&options.key)?;
    let receipt = match &options.receipt {
        Some(path) => match recognised(path, "--receipt")? {
            Ok(Kind::Receipt(receipt) | Kind::Answer { receipt: Some(receipt), .. }) => Some(receipt),
            Ok(_) => return Err(refused("--receipt", format!("{} is no receipt", path.display())).into()),
            Err(reason) => return Err(refused("--receipt", format!("{} is no receipt: {reason}", path.display())).into()),
        },
        None => None,
    };
    let verdict = match (recognised(&options.file, "FILE")?, &receipt) {
        (Err(reason), _) => Err(reason),
        (Ok(Kind::Document(document) | Kind::Answer { document, .. }), receipt) => of_document(&document, receipt.as_ref(), &trusted),
        (Ok(Kind::Receipt(_) | Kind::Export), Some(_)) => Err("it is no document, which a receipt could be of".to_owned()),
        (Ok(Kind::Receipt(held)), None) => of_receipt(&held, &trusted).map(|(_, holds)| holds),
        (Ok(Kind::Export), None) => of_export(&options.file, &trusted)?,
    };
    let file = options.file.display();
    let (lines, code) = match verdict {
        Ok(holds) => {
            let standing = if holds.trusted { "ok" } else { "consistent, signer unknown" };
            (holds.told.into_iter().chain([standing.to_owned()]).collect(), u8::from(!holds.trusted))
        }
        Err(reason) => (vec![format!("does not hold: {reason}")], 1),
    };
    output::write(lines.iter().fold(String::new(), |mut told, line| {
        let _ = writeln!(told, "{file}: {line}");
        told
    }))?;
    Ok(ExitCode::from(code))
}

fn refused(option: &str, problem: String) -> config::Error {
    config::Error { source_name: option.to_owned(), problem }
}

/// The file as a text; `None` for what is none, as an export.
fn text(path: &Path, option: &str) -> Result<Option<String>, config::Error> {
    let unreadable = |error: std::io::Error| refused(option, format!("{} cannot be read: {error}", path.display()));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    match String::from_utf8(bytes) {
        Ok(text) if text.len() as u64 > TEXT_BYTES_MAX => {
            Err(refused(option, format!("{} is longer than {TEXT_BYTES_MAX} bytes", path.display())))
        }
        text => Ok(text.ok()),
    }
}

impl Trusted {
    fn read(files: &[PathBuf]) -> Result<Trusted, config::Error> {
        let mut trusted = Trusted::default();
        for file in files {
            let held = text(file, "--key")?.ok_or_else(|| refused("--key", format!("{} is no text", file.display())))?;
            let lines = (1..).zip(held.lines().map(str::trim));
            for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
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

/// What a file is, or why it is nothing that can be checked.
fn recognised(path: &Path, option: &str) -> Result<Result<Kind, String>, config::Error> {
    Ok(match text(path, option)? {
        None => Ok(Kind::Export),
        Some(text) if text.starts_with(receipt::FIRST_LINE) => text.parse().map(Kind::Receipt).map_err(|_| {
            "it begins as a tlog-proof, but is none with an event's content, of lines that end with a line feed alone".to_owned()
        }),
        Some(text) => match json::parse(text.as_bytes()) {
            Ok(Value::Object(members)) => of_members(members),
            Ok(_) => Err("it is JSON, but no document or receipt".to_owned()),
            Err(_) => Err("it is no document, receipt or export".to_owned()),
        },
    })
}

fn of_members(mut members: Map<String, Value>) -> Result<Kind, String> {
    if members.contains_key("credentialSubject") {
        return Ok(Kind::Document(Value::Object(members)));
    }
    if members.contains_key("tlog_proof") {
        return answered_receipt(&Value::Object(members)).map(Kind::Receipt);
    }
    let Some(document @ Value::Object(_)) = members.remove("document") else {
        return Err("it is JSON, but no document or receipt".to_owned());
    };
    let receipt = members.remove("receipt").filter(|receipt| !receipt.is_null());
    let receipt = receipt.as_ref().map(answered_receipt).transpose()?;
    of_the_same(&members, &document)?;
    Ok(Kind::Answer { document, receipt })
}

/// A receipt as it is answered: what its members say is what its tlog-proof says.
fn answered_receipt(answered: &Value) -> Result<Receipt, String> {
    let read = answered["tlog_proof"].as_str().and_then(|text| text.parse::<Receipt>().ok());
    let read = read.ok_or_else(|| "its tlog_proof is none".to_owned())?;
    let log = if read.checkpoint.head().origin.as_str().ends_with("/v1/logs/audit") { LogName::AUDIT } else { LogName::LEDGER };
    let mut expected = serde_json::to_value(ReceiptBody::from(&read)).unwrap_or_default();
    expected["position"] = log.at(read.position).to_string().into();
    if *answered == expected { Ok(read) } else { Err("its members do not say what its tlog_proof says".to_owned()) }
}

/// What an answer says beside its document is what the document says.
fn of_the_same(answered: &Map<String, Value>, document: &Value) -> Result<(), String> {
    let subject = &document["credentialSubject"];
    let id = document["id"].as_str().and_then(|id| id.strip_prefix("urn:uuid:"));
    let digest = format!("blake3:{}", hex::encode(document::digest(document)));
    let rules = [
        ("id", answered.get("id").and_then(Value::as_str) == id),
        ("type", answered.get("type") == document["type"].get(1)),
        ("digest", answered.get("digest").and_then(Value::as_str) == Some(&digest)),
        (
            "subject",
            ["name", "email", "id"].iter().all(|member| answered.get("subject").and_then(|given| given.get(member)) == subject.get(member)),
        ),
        ("claims", answered.get("claims") == Some(subject.get("claims").unwrap_or(&json!({})))),
        ("valid_from", answered.get("valid_from").filter(|time| !time.is_null()) == document.get("validFrom")),
        ("valid_until", answered.get("valid_until").filter(|time| !time.is_null()) == document.get("validUntil")),
    ];
    match rules.into_iter().find(|(_, holds)| !holds) {
        Some((member, _)) => Err(format!("its member {member} does not say what its document says")),
        None => Ok(()),
    }
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
    let (mut told, mut is_trusted) = (vec![format!("document {} of type {}", document["id"], document["type"][1])], false);
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

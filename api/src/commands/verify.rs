//! `credence verify`: checks offline what somebody holds: a document, a receipt, both as they were answered, or a whole log as a file. It
//! asks nobody; what it trusts are the keys that it is given. Whatever it lets pass without being able to check it, it says.
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
use credence_ledger::event::credential::{CredentialIssued, CredentialReinstated, CredentialRevoked, CredentialSuspended};
use credence_ledger::export::{Item, ReadError, Reader};
use credence_ledger::receipt::{self, Fact, Receipt};
use credence_ledger::stream::category;
use credence_ledger::tree::TreeSize;
use credence_ledger::{Clock as _, LogName, Position, Timestamp, causes, codec, json};
use credence_projections::verification::{State, Status};
use serde_json::{Map, Value, json};

use super::output;
use super::progress::Progress;
use crate::config;
use crate::wire::credential::StatusName;
use crate::wire::proof::ReceiptBody;

/// A document or a receipt is no longer than this; an export may be of any length.
const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Of an export progress is told after so many events.
const PROGRESS_EVERY: u64 = 1000;
/// What an answer holds beside its document and its receipt: first what the document says, too.
const OF_THE_DOCUMENT: [&str; 7] = ["id", "type", "digest", "subject", "claims", "valid_from", "valid_until"];
/// Then what only the log can tell, and the issuer's name, which stands in neither.
const OF_THE_LOG: [&str; 8] = ["issuer", "status", "status_changed_at", "issued_at", "issued_by", "position", "event_hash", "message"];

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
    Answer(Box<Answer>),
    Receipt(Receipt),
    Export,
}

/// A credential as it was answered.
struct Answer {
    document: Value,
    /// The receipt of the act that was answered.
    receipt: Option<Receipt>,
    /// What stands beside the two.
    beside: Map<String, Value>,
}

pub(super) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let trusted = Trusted::read(&options.key)?;
    let receipt = options.receipt.as_deref().map(given_receipt).transpose()?.transpose();
    let verdict = match (recognised(&options.file, "FILE")?, receipt) {
        (Err(reason), _) | (Ok(_), Err(reason)) => Err(reason),
        (Ok(Kind::Document(document)), Ok(receipt)) => of_document(&document, receipt.as_ref(), &trusted),
        (Ok(Kind::Answer(answer)), Ok(receipt)) => of_answer(&answer, receipt.as_ref(), &trusted),
        (Ok(Kind::Receipt(_) | Kind::Export), Ok(Some(_))) => Err("it is no document, which a receipt could be of".to_owned()),
        (Ok(Kind::Receipt(held)), Ok(None)) => of_receipt(&held, &trusted).map(|(_, holds)| holds),
        (Ok(Kind::Export), Ok(None)) => of_export(&options.file, &trusted)?,
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

/// The receipt that is given apart, or why it is none.
fn given_receipt(path: &Path) -> Result<Result<Receipt, String>, config::Error> {
    Ok(match recognised(path, "--receipt")? {
        Ok(Kind::Receipt(receipt)) => Ok(receipt),
        Ok(Kind::Answer(answer)) => answer.receipt.ok_or_else(|| format!("{} holds no receipt", path.display())),
        Ok(Kind::Document(_) | Kind::Export) => Err(format!("{} is no receipt", path.display())),
        Err(reason) => Err(format!("{} is no receipt: {reason}", path.display())),
    })
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
    Ok(Kind::Answer(Box::new(Answer { document, receipt, beside: members })))
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
    if let Some((member, _)) = rules.into_iter().find(|(_, holds)| !holds) {
        return Err(format!("its member {member} does not say what its document says"));
    }
    match answered.keys().find(|member| !OF_THE_DOCUMENT.contains(&member.as_str()) && !OF_THE_LOG.contains(&member.as_str())) {
        Some(member) => Err(format!("no answer has the member {member}")),
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

/// The document, and of what stands beside it all that the document's proof and the receipts tell. The rest is named.
fn of_answer(answer: &Answer, given: Option<&Receipt>, trusted: &Trusted) -> Verdict {
    let Answer { document, receipt: own, beside } = answer;
    let act = own.as_ref().map(|own| of_receipt(own, trusted)).transpose()?;
    let own_issuance = own.as_ref().filter(|_| act.as_ref().is_some_and(|(fact, _)| fact.kind == CredentialIssued::TYPE));
    let issuance = given.or(own_issuance);
    let mut holds = of_document(document, issuance, trusted)?;

    let mut expected = Vec::new();
    if let Some(receipt) = issuance {
        let (fact, _) = of_receipt(receipt, trusted)?;
        expected.extend(told_by_issuance(receipt, &fact));
    }
    if let Some((fact, of_act)) = act {
        of_its_credential(document, &fact)?;
        expected.extend(told_by_act(document, &fact).into_iter().flatten());
        if issuance != own.as_ref() {
            holds.told.extend(of_act.told.into_iter().map(|line| format!("its own receipt: {line}")));
        }
    }
    // The issuer signs when it issued. Where that is not signed, a receipt is there.
    expected.extend(document["proof"].get("created").map(|created| ("issued_at", created.clone())));
    let says_otherwise = |(member, value): &&(&str, Value)| beside.get(*member).is_some_and(|said| said != value);
    if let Some((member, _)) = expected.iter().find(says_otherwise) {
        return Err(format!("its member {member} does not say what its proof or its receipt says"));
    }
    let is_unchecked = |member: &&str| beside.contains_key(*member) && expected.iter().all(|(checked, _)| checked != member);
    let unchecked: Vec<&str> = OF_THE_LOG.into_iter().filter(is_unchecked).collect();
    if !unchecked.is_empty() {
        holds.told.push(format!("not checked, as nothing here tells of it: {}", unchecked.join(", ")));
    }
    Ok(holds)
}

/// What the receipt of an issuance says of the members of an answer.
fn told_by_issuance(receipt: &Receipt, fact: &Fact) -> [(&'static str, Value); 4] {
    [
        ("position", LogName::LEDGER.at(receipt.position).to_string().into()),
        ("event_hash", receipt.event_hash().to_string().into()),
        ("issued_at", fact.recorded_at.to_string().into()),
        ("issued_by", fact.metadata.worker.as_str().into()),
    ]
}

/// What the receipt of an act says of the members of its answer, which tells the credential as the act left it; `None` of an act that is
/// not known.
fn told_by_act(document: &Value, fact: &Fact) -> Option<[(&'static str, Value); 3]> {
    let (state, what) = match fact.kind.as_str() {
        CredentialIssued::TYPE => (State::Active, "issued"),
        CredentialSuspended::TYPE => (State::Suspended, "suspended"),
        CredentialReinstated::TYPE => (State::Active, "reinstated"),
        CredentialRevoked::TYPE => (State::Revoked, "revoked"),
        _ => return None,
    };
    let time = |member: &str| document[member].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let status = Status::of(state, time("validFrom"), time("validUntil"), fact.recorded_at);
    let changed_at = (fact.kind != CredentialIssued::TYPE).then(|| fact.recorded_at.to_string());
    Some([
        ("status", json!(StatusName::from(status))),
        ("status_changed_at", json!(changed_at)),
        ("message", format!("credential {what} by {}", fact.metadata.worker).into()),
    ])
}

/// Whether an answer's own receipt is of an act on its credential.
fn of_its_credential(document: &Value, fact: &Fact) -> Result<(), String> {
    if fact.kind == CredentialIssued::TYPE {
        return of_its_issuance(document, fact);
    }
    let is_its = fact.stream.category() == category::CREDENTIAL && is_id_of(document, fact);
    if is_its { Ok(()) } else { Err(format!("its receipt is of {} of {}, not of an act on this credential", fact.kind, fact.stream)) }
}

fn is_id_of(document: &Value, fact: &Fact) -> bool {
    document["id"] == format!("urn:uuid:{}", fact.stream.id())
}

/// Whether the receipt's event is the issuance of this document.
fn of_its_issuance(document: &Value, fact: &Fact) -> Result<(), String> {
    let other = || format!("the receipt is of {} of {}, not of the issuance of this document", fact.kind, fact.stream);
    if fact.kind != CredentialIssued::TYPE || fact.schema != CredentialIssued::SCHEMA {
        return Err(other());
    }
    let issued: CredentialIssued = codec::decode(&fact.payload).map_err(|_| other())?;
    if is_id_of(document, fact) && *issued.digest == document::digest(document) { Ok(()) } else { Err(other()) }
}

fn of_export(path: &Path, trusted: &Trusted) -> Result<Verdict, config::Error> {
    let unreadable = |error: std::io::Error| refused("FILE", format!("{} cannot be read: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    match read_export(file, trusted) {
        Ok(verdict) => Ok(verdict),
        Err(ReadError::Io(error)) => Err(unreadable(error)),
        Err(ReadError::Invalid(invalid)) => Ok(Err(causes(&invalid))),
    }
}

fn read_export(file: File, trusted: &Trusted) -> Result<Verdict, ReadError> {
    let length = file.metadata()?.len();
    let mut reader = Reader::open(file)?;
    let (log, origin) = (reader.verifier().log().clone(), reader.verifier().origin().clone());
    let mut progress = Progress::new(format!("verify {log}"));
    let (mut events, mut signed, mut checkpoints) = (0, None, 0);
    while let Some(item) = reader.next()? {
        match item {
            Item::Event(event) => {
                events = event.position.0 + 1;
                if events.is_multiple_of(PROGRESS_EVERY) {
                    progress.at("checking", events, estimated(events, reader.verifier().byte(), length));
                }
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

/// How many events a file of `length` bytes has, of which the first `read` told of `events`: it says so at its end only.
fn estimated(events: u64, read: u64, length: u64) -> u64 {
    let total = u128::from(events) * u128::from(length.max(read)) / u128::from(read.max(1));
    u64::try_from(total).unwrap_or(u64::MAX)
}

fn covered(log: &LogName, size: TreeSize, events: u64) -> String {
    match size.0.checked_sub(1) {
        Some(last) if size.0 < events => {
            format!("a trusted checkpoint covers it up to {}, but not the {} events after that", log.at(Position(last)), events - size.0)
        }
        _ => "a trusted checkpoint covers all of it".to_owned(),
    }
}

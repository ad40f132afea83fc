//! Issuers' signing keys, listed with their history, which is the ledger's.

use std::collections::HashMap;

use credence_ledger::event::issuer::IssuerEvent;
use credence_ledger::log::Query;
use credence_ledger::vault::KeyState;
use credence_ledger::{LogName, LogPosition, Stream, Timestamp};
use serde_json::{Value, json};

use super::Format;
use crate::commands::{open, output};
use crate::config::StoreConfig;

/// A signing key, and since when the ledger has it.
struct Listed {
    issuer: String,
    did: String,
    state: KeyState,
    since: Option<(Timestamp, LogPosition)>,
}

pub(super) async fn list(config: &StoreConfig, format: Format) -> anyhow::Result<()> {
    let (vault, ledger) = (open::vault(config).await?, open::log(config, LogName::LEDGER).await?);
    let mut listed = Vec::new();
    for issuer in vault.issuers().await? {
        let mut since = HashMap::new();
        for event in ledger.read(&Query::stream(&Stream::issuer(issuer.id))).await? {
            let did = IssuerEvent::decode(&event)?.did().to_owned();
            since.insert(did, (event.recorded_at, LogName::LEDGER.at(event.position)));
        }
        for key in vault.issuer_keys(issuer.id).await? {
            let since = since.remove(&key.did);
            listed.push(Listed { issuer: issuer.name.clone(), did: key.did, state: key.state, since });
        }
    }
    match format {
        Format::Json => output::write(format!("{:#}\n", Value::Array(listed.iter().map(shown).collect()))),
        Format::Table => {
            let mut table = row(["ISSUER", "STATE", "SINCE", "POSITION", "DID"]);
            for key in &listed {
                let (since, position) = key.since.as_ref().map(|(at, position)| (at.to_string(), position.to_string())).unzip();
                let absent = || "-".to_owned();
                table += &row([&key.issuer, key.state.as_str(), &since.unwrap_or_else(absent), &position.unwrap_or_else(absent), &key.did]);
            }
            output::write(table)
        }
    }
}

fn shown(key: &Listed) -> Value {
    let (since, position) = key.since.as_ref().map(|(at, position)| (at.to_string(), position.to_string())).unzip();
    json!({"issuer": key.issuer, "did": key.did, "state": key.state.as_str(), "since": since, "position": position})
}

fn row([issuer, state, since, position, did]: [&str; 5]) -> String {
    format!("{issuer:<16}  {state:<7}  {since:<27}  {position:<14}  {did}\n")
}

//! `credence demo`: a whole service on a throwaway store, spoken to over HTTP, telling what it does.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use credence_ledger::fsck;
use futures::TryStreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::output;
use crate::config::{Config, ServeOptions, StoreOptions};
use crate::node::Node;
use crate::stores::Sources;
use crate::use_cases::replay::{self, Selection};

pub(super) async fn run() -> anyhow::Result<ExitCode> {
    let folder = Throwaway::make()?;
    let stores = StoreOptions {
        store: Some(format!("sqlite:{}", folder.0.display())),
        origin: Some("demo.example".to_owned()),
        worker_id: Some("demo-worker".to_owned()),
        ..StoreOptions::default()
    };
    let serve = ServeOptions { listen: Some("127.0.0.1:0".to_owned()), log: Some("warn".to_owned()), ..ServeOptions::default() };
    let (config, warnings) = Config::read(&stores, &serve, std::iter::empty())?;
    super::start_logging(&config.store.log, &warnings);
    // The folder holds a master key: it goes, too, when the demonstration is told to stop.
    let mut stopped = std::pin::pin!(super::interrupted());
    let node = tokio::select! {
        node = Node::start(config, Sources::default()) => node?,
        stopped = &mut stopped => return Ok(stopped.map(|()| ExitCode::SUCCESS)?),
    };
    let told = tokio::select! {
        told = demonstrate(&node) => told,
        stopped = &mut stopped => stopped.map_err(Into::into),
    };
    node.shutdown().await;
    told.or_else(output::unless_closed)?;
    Ok(ExitCode::SUCCESS)
}

async fn demonstrate(node: &Node) -> anyhow::Result<()> {
    let key = node.administrator_key.as_ref().map(|key| key.to_string()).context("a fresh store without a key")?;
    tell(&Client { address: node.address.to_string(), key }, node).await
}

async fn tell(client: &Client, node: &Node) -> anyhow::Result<()> {
    say(&format!("A service with a throwaway store, on http://{}.\n", client.address))?;

    say("1. Issue a credential. What the holder keeps is its document.")?;
    let credential = client
        .post("/v1/credentials", &json!({"type": "developer-certificate", "subject": {"name": "Ada Lovelace", "email": "ada@example.org"}}))
        .await?;
    let (id, document) = (&credential["id"], &credential["document"]);
    show(&credential, &["id", "status", "digest", "position", "message"])?;

    say("2. Issue it again: the same credential of the same person exists once.")?;
    let refused = client
        .post(
            "/v1/credentials",
            &json!({"type": "developer-certificate", "subject": {"name": "Ada  Lovelace ", "email": "ADA@example.org"}}),
        )
        .await?;
    show(&refused, &["title", "status", "existing"])?;

    say("3. Verify it by presenting the document; anybody may, and every verdict is recorded.")?;
    let issued_at = text(&credential["position"]);
    show(&client.post_after("/v1/verifications", &json!({"document": document}), issued_at).await?, VERDICT)?;

    say("4. Change one word in the document and present that.")?;
    let mut forged = document.clone();
    forged["credentialSubject"]["name"] = json!("Charles Babbage");
    show(&client.post("/v1/verifications", &json!({"document": forged})).await?, VERDICT)?;

    say("5. Revoke it, for ever.")?;
    let path = format!("/v1/credentials/{}/revoke", text(id));
    let revoked = client.post(&path, &json!({"reason": "the demo is over"})).await?;
    show(&revoked, &["status", "status_changed_at", "message"])?;

    say("6. Verify it again: now, and as of the position it was issued at.")?;
    let last = node.services().ledger()?.log.head().await?.last().map_or(0, |position| position.0);
    show(&client.post_after("/v1/verifications", &json!({"id": id}), &format!("ledger@{last}")).await?, VERDICT)?;
    let then = json!({"id": id, "as_of_position": credential["position"]});
    show(&client.post("/v1/verifications", &then).await?, VERDICT)?;

    say("7. Rebuild the read model from the log, beside the one that serves, and compare the two.")?;
    let mut rebuild = client.post("/v1/projections/verification/rebuilds", &Value::Null).await?;
    let path = format!("/v1/projections/verification/rebuilds/{}", text(&rebuild["id"]));
    while rebuild["phase"] != "done" {
        ensure!(rebuild["phase"] != "failed", "the rebuild failed: {rebuild}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        rebuild = client.get(&path).await?;
    }
    show(&rebuild, &["phase", "done", "equal"])?;

    say("8. Replay both logs. What is personal is sealed in them.")?;
    let app = node.services();
    for access in app.ledger.iter().chain([&app.audit]) {
        let mut pages = Box::pin(replay::events(access.long_reads.clone(), Selection::default(), None));
        while let Some(page) = pages.try_next().await? {
            for event in page {
                say(&format!("   {:<10} {:<18} {}", access.log.name().at(event.position).to_string(), event.kind, event.stream))?;
            }
        }
    }

    say("\n9. Check every event, hash and unique key.")?;
    for access in app.ledger.iter().chain([&app.audit]) {
        let tiles = &app.proofs.of(access.log.name()).tiles;
        let against = fsck::Against { tiles: &**tiles, known: &[], held: &[] };
        let summary = fsck::check(&*access.log, &against, &mut |finding| drop(say(&format!("   {finding}"))), &mut |_, _| ()).await?;
        say(&format!("   {summary}"))?;
    }
    say("\nThe store is thrown away now. `credence serve` starts one that stays.")
}

const VERDICT: &[&str] = &["valid", "status", "as_of_position", "audit_position", "message"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn say(line: &str) -> anyhow::Result<()> {
    output::write(format!("{line}\n"))
}

/// Shows some members of an answer.
fn show(answer: &Value, members: &[&str]) -> anyhow::Result<()> {
    for member in members.iter().filter(|member| !answer[**member].is_null()) {
        say(&format!("   {member}: {}", answer[*member]))?;
    }
    say("")
}

/// As much of an HTTP client as the demonstration needs: one request a connection.
struct Client {
    address: String,
    key: String,
}

impl Client {
    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, "", String::new()).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("POST", path, "", body_of(body)).await
    }

    /// Waits until the read model has passed `position`.
    async fn post_after(&self, path: &str, body: &Value, position: &str) -> anyhow::Result<Value> {
        self.send("POST", path, &format!("ledger-min-position: {position}\r\n"), body_of(body)).await
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: String) -> anyhow::Result<Value> {
        let Client { address, key } = self;
        let content =
            if body.is_empty() { String::new() } else { format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()) };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\nconnection: close\r\n");
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{head}{headers}{content}\r\n{body}").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        serde_json::from_str(body).with_context(|| format!("{method} {path} was answered {answer}"))
    }
}

fn body_of(body: &Value) -> String {
    if body.is_null() { String::new() } else { body.to_string() }
}

/// A folder that ends with the demonstration.
struct Throwaway(PathBuf);

impl Throwaway {
    fn make() -> anyhow::Result<Throwaway> {
        let name: [u8; 8] = credence_ledger::random::bytes(&credence_ledger::random::SystemRandom);
        let folder = std::env::temp_dir().join(format!("credence-demo-{}", hex::encode(name)));
        std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        Ok(Throwaway(folder))
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            let _ = writeln!(std::io::stderr(), "{} is left behind: {error}", self.0.display());
        }
    }
}

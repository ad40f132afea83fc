//! Logs: read page by page, all at once, or as they grow; in every format; and who may.

#![cfg(test)]

mod support;

use std::time::Duration;

use credence_ledger::event::issuer::IssuerRegistered;
use credence_ledger::event::{New, Origination};
use credence_ledger::log::{Append, Expected, Query};
use credence_ledger::random::SystemRandom;
use credence_ledger::{Position, Stream};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use support::{Answer, Engine, Inspector, TestApp, User, chain, eventually, send, unsigned};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

engines!(
    pages_hold_every_event_once_in_order,
    filters_hold_together,
    every_format_tells_the_same_events,
    the_chain_can_be_recomputed_from_its_origin_by_anybody,
    what_is_sealed_stays_closed_unless_it_is_opened_on_record,
    without_a_record_nothing_is_opened,
    a_follower_gets_what_comes_and_goes_on_where_it_was,
    a_follower_is_let_go_when_the_process_stops,
    whoever_asks_for_little_is_answered_beside_any_number_of_streams_that_nobody_reads,
);

/// Reads a log in another media type than JSON.
async fn read_as(user: &impl User, path: &str, media_type: &str) -> reqwest::Response {
    let response = user.request(Method::GET, path).header("accept", media_type).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], media_type);
    response
}

/// Three credentials, one of them revoked: with the default issuer's registration five events.
async fn five_events(app: &TestApp) -> Vec<Value> {
    let issuer = app.issuer().await;
    let mut issued = Vec::new();
    for name in ["Ada", "Bob", "Cyd"] {
        issued.push(issuer.issue(name, "one@example.org").await);
    }
    let path = format!("/v1/credentials/{}/revoke", issued[1]["id"].as_str().unwrap());
    issuer.post(&path, &json!({"reason": "moved on"})).await.expect(200);
    issued
}

fn positions(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|event| event["position"].as_str().unwrap()).collect()
}

async fn pages_hold_every_event_once_in_order(engine: Engine) {
    let app = TestApp::start(engine).await;
    five_events(&app).await;
    let auditor = app.inspector().await;
    let first = auditor.get("/v1/logs/ledger/events?limit=2").await.expect(200).body;
    assert_eq!(positions(&first["items"]), ["ledger@0", "ledger@1"]);
    // A cursor takes the place of `from`.
    let next = |page: &Value| format!("/v1/logs/ledger/events?limit=2&from=0&cursor={}", page["next_cursor"].as_str().unwrap());
    let second = auditor.get(&next(&first)).await.expect(200).body;
    assert_eq!(positions(&second["items"]), ["ledger@2", "ledger@3"]);
    let third = auditor.get(&next(&second)).await.expect(200).body;
    assert_eq!(positions(&third["items"]), ["ledger@4"]);
    assert_eq!(third["next_cursor"], Value::Null);
    let all = auditor.get("/v1/logs/ledger/events?from=3&limit=1000").await.expect(200).body;
    assert_eq!(positions(&all["items"]), ["ledger@3", "ledger@4"]);
    assert_eq!(all["next_cursor"], Value::Null);
    let beyond = auditor.get("/v1/logs/ledger/events?from=5").await.expect(200).body;
    assert_eq!(beyond, json!({"items": [], "next_cursor": null}));
}

#[tokio::test]
async fn a_page_of_large_events_ends_sooner_and_goes_on_where_it_ended() {
    let app = TestApp::start(Engine::Sqlite).await;
    let issuer = app.issuer().await;
    let claims = json!({ "text": "x".repeat(65_000) });
    for number in 0..70 {
        let subject = json!({"name": "Ada", "email": format!("ada{number}@example.org")});
        issuer.post("/v1/credentials", &json!({"type": "t", "subject": subject, "claims": claims})).await.expect(201);
    }
    let auditor = app.inspector().await;
    let (mut path, mut found, mut pages) = ("/v1/logs/ledger/events?limit=1000&open=true".to_owned(), Vec::new(), 0);
    loop {
        let page = auditor.get(&path).await.expect(200);
        assert!(page.text.len() < 5 << 20, "{}", page.text.len());
        found.extend(positions(&page.body["items"]).into_iter().map(str::to_owned));
        pages += 1;
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        path = format!("/v1/logs/ledger/events?limit=1000&open=true&cursor={next}");
    }
    assert_eq!(found, (0..71).map(|position| format!("ledger@{position}")).collect::<Vec<_>>());
    assert_eq!(pages, 2);
    let lines = read_as(&auditor, "/v1/logs/ledger/events?open=true", "application/x-ndjson").await.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 71);
    assert_eq!(lines[70]["payload"]["document"]["credentialSubject"]["claims"], claims);
}

async fn filters_hold_together(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = five_events(&app).await;
    let auditor = app.inspector().await;
    let stream = format!("credential/{}", issued[1]["id"].as_str().unwrap());
    let read = async |query: &str| auditor.get(&format!("/v1/logs/ledger/events?{query}")).await.expect(200).body["items"].clone();
    assert_eq!(positions(&read(&format!("stream={stream}")).await), ["ledger@2", "ledger@4"]);
    assert_eq!(positions(&read("type=CredentialIssued").await), ["ledger@1", "ledger@2", "ledger@3"]);
    assert_eq!(positions(&read(&format!("stream={stream}&type=CredentialRevoked")).await), ["ledger@4"]);
    let all = read("").await;
    let at = |position: usize| all[position]["recorded_at"].as_str().unwrap().to_owned();
    assert_eq!(positions(&read(&format!("since={}&until={}", at(1), at(3))).await), ["ledger@1", "ledger@2"]);
    assert_eq!(read("until=1970-01-01T00:00:00Z").await, json!([]));
}

async fn every_format_tells_the_same_events(engine: Engine) {
    let app = TestApp::start(engine).await;
    five_events(&app).await;
    let auditor = app.inspector().await;
    let page = auditor.get("/v1/logs/ledger/events").await.expect(200).body;
    let event = &page["items"][1];
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["chain_hash", "event_hash", "metadata", "payload", "position", "recorded_at", "schema", "stream", "type", "version"]);
    assert_eq!((&event["type"], &event["schema"], &event["version"]), (&json!("CredentialIssued"), &json!(1), &json!(0)));
    assert!(event["metadata"]["actor"].as_str().unwrap().starts_with("key/"));

    let lines = read_as(&auditor, "/v1/logs/ledger/events", "application/x-ndjson").await.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(lines), page["items"]);
    let sequence = read_as(&auditor, "/v1/logs/ledger/events?from=1&limit=2", "application/cbor-seq").await.bytes().await.unwrap();
    let items = chain::items(&sequence);
    assert_eq!(items.len(), 3);
    assert_eq!(chain::uint(&items[0], "from"), 1);
    assert_eq!(chain::uint(&items[2], "position"), 2);
    // What cannot be met, and what is not said, is JSON.
    for accept in ["text/html", "*/*"] {
        let answer = send(auditor.request(Method::GET, "/v1/logs/ledger/events").header("accept", accept)).await.expect(200);
        assert_eq!(answer.body, page);
    }
}

async fn the_chain_can_be_recomputed_from_its_origin_by_anybody(engine: Engine) {
    let app = TestApp::start(engine).await;
    five_events(&app).await;
    let auditor = app.inspector().await;
    for (log, access) in [("ledger", app.services().ledger().unwrap()), ("audit", &app.services().audit)] {
        let path = format!("/v1/logs/{log}/events");
        let sequence = read_as(&auditor, &path, "application/cbor-seq").await.bytes().await.unwrap();
        let head = access.log.head().await.unwrap();
        assert_eq!(chain::check(&sequence, log), (head.size, head.chain_hash.to_string()));
    }
}

async fn what_is_sealed_stays_closed_unless_it_is_opened_on_record(engine: Engine) {
    let app = TestApp::start(engine).await;
    let issued = five_events(&app).await;
    let auditor = app.inspector().await;
    let size = async || app.services().audit.log.head().await.unwrap().size;
    let before = size().await;
    let closed = auditor.get("/v1/logs/ledger/events?from=1").await.expect(200);
    assert!(!closed.text.contains("example.org") && !closed.text.contains("moved on"));
    let key = closed.body["items"][0]["payload"]["document"]["sealed"].as_str().unwrap();
    assert_eq!(key, format!("subject/{}", closed.body["items"][0]["payload"]["subject_id"].as_str().unwrap()));
    assert_eq!(size().await, before, "nothing was opened, nothing is recorded");

    let stream = format!("credential/{}", issued[1]["id"].as_str().unwrap());
    let opened = auditor.get(&format!("/v1/logs/ledger/events?open=true&stream={stream}")).await.expect(200).body;
    assert_eq!(opened["items"][0]["payload"]["document"], unsigned(&issued[1]["document"]));
    assert_eq!(opened["items"][1]["payload"]["reason"], "moved on");
    let recorded = app.services().audit.log.read(&Query::from(Position(before), 10)).await.unwrap();
    let [event] = recorded.as_slice() else { panic!("one record a request: {recorded:?}") };
    assert_eq!(event.kind, "PersonalDataRead");
    // The record itself can be read, its details opened too: with one more record.
    let own = auditor.get(&format!("/v1/logs/audit/events?open=true&from={before}")).await.expect(200).body;
    assert_eq!(own["items"].as_array().unwrap().len(), 2);
    assert_eq!(own["items"][0]["payload"], json!({"via": "GET /v1/logs/{log}/events", "what": stream}));
    assert_eq!(own["items"][0]["metadata"]["details"]["address"], "127.0.0.1");
    let lines = read_as(&auditor, "/v1/logs/ledger/events?open=true", "application/x-ndjson").await.text().await.unwrap();
    assert!(lines.contains("one@example.org"));
    assert_eq!(size().await, before + 3);
}

async fn without_a_record_nothing_is_opened(engine: Engine) {
    let app = TestApp::start(engine).await;
    five_events(&app).await;
    let auditor = app.inspector().await;
    app.services().audit.appender.shutdown().await;
    for accept in ["application/json", "application/x-ndjson", "text/event-stream"] {
        let request = auditor.request(Method::GET, "/v1/logs/ledger/events?open=true").header("accept", accept);
        send(request).await.expect_problem(503, "audit-unavailable");
    }
    auditor.get("/v1/logs/ledger/events").await.expect(200);
}

/// A client of an event stream.
struct Follower {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Follower {
    async fn new(auditor: &Inspector, path: &str, last: Option<&str>) -> Follower {
        let request = auditor.request(Method::GET, path).header("accept", "text/event-stream");
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        let response = request.send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"text/event-stream".parse().unwrap()));
        Follower { bytes: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The next message as its id, type and data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
                let found = field("id:").map(|id| (id, field("event:").unwrap(), serde_json::from_str(&field("data:").unwrap()).unwrap()));
                self.text = rest.to_owned();
                match found {
                    Some(message) => return Some(message),
                    // A comment keeps the connection open.
                    None => continue,
                }
            }
            let bytes =
                tokio::time::timeout(Duration::from_secs(20), self.bytes.next()).await.expect("a message within 20 seconds")?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

async fn a_follower_gets_what_comes_and_goes_on_where_it_was(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (auditor, issuer) = (app.inspector().await, app.issuer().await);
    let mut follower = Follower::new(&auditor, "/v1/logs/ledger/events", None).await;
    let (id, kind, data) = follower.next().await.unwrap();
    assert_eq!((id.as_str(), kind.as_str(), &data["position"]), ("ledger@0", "IssuerRegistered", &json!("ledger@0")));
    for (name, position) in [("Ada", "ledger@1"), ("Bob", "ledger@2")] {
        let issued = issuer.issue(name, "one@example.org").await;
        let (id, kind, data) = follower.next().await.unwrap();
        assert_eq!((id.as_str(), kind.as_str()), (position, "CredentialIssued"));
        assert_eq!(data["event_hash"], issued["event_hash"]);
    }
    drop(follower);
    issuer.issue("Cyd", "one@example.org").await;
    // Whoever reconnects repeats the address it began with.
    let mut resumed = Follower::new(&auditor, "/v1/logs/ledger/events?from=0", Some("ledger@1")).await;
    assert_eq!(resumed.next().await.unwrap().0, "ledger@2");
    assert_eq!(resumed.next().await.unwrap().0, "ledger@3");
    // Only what is wanted comes, however much passes by.
    let mut picky = Follower::new(&auditor, "/v1/logs/ledger/events?type=CredentialRevoked", None).await;
    let issued = issuer.issue("Dan", "one@example.org").await;
    issuer.post_empty(&format!("/v1/credentials/{}/revoke", issued["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(picky.next().await.unwrap().0, "ledger@5");
}

async fn a_follower_is_let_go_when_the_process_stops(engine: Engine) {
    let app = TestApp::start(engine).await;
    let auditor = app.inspector().await;
    let mut follower = Follower::new(&auditor, "/v1/logs/ledger/events", None).await;
    assert!(follower.next().await.is_some());
    let (end, stopped) = tokio::join!(follower.next(), tokio::time::timeout(Duration::from_secs(10), app.shutdown()));
    assert!(end.is_none());
    assert!(stopped.is_ok());
}

#[tokio::test]
async fn auditors_and_administrators_alone_read_logs() {
    let app = TestApp::start(Engine::Sqlite).await;
    let path = "/v1/logs/ledger/events";
    app.anonymous().get(path).await.expect_problem(401, "unauthenticated");
    app.issuer().await.get(path).await.expect_problem(403, "forbidden");
    app.inspector().await.get(path).await.expect(200);
    app.operator().await.get(path).await.expect(200);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let app = TestApp::start(Engine::Sqlite).await;
    let auditor = app.inspector().await;
    for path in ["/v1/logs/other/events", "/v1/logs/Ledger/events"] {
        auditor.get(path).await.expect_problem(404, "not-found");
    }
    for (query, field, code) in [
        ("limit=0", "limit", "range"),
        ("limit=1001", "limit", "range"),
        ("from=-1", "from", "range"),
        ("from=x", "from", "format"),
        ("cursor=x", "cursor", "format"),
        ("stream=credential", "stream", "format"),
        ("since=yesterday", "since", "format"),
        ("until=2026-01-01", "until", "format"),
        ("open=yes", "open", "format"),
        ("more=1", "more", "unknown"),
        ("type=a&type=b", "type", "duplicate"),
    ] {
        auditor.get(&format!("/v1/logs/ledger/events?{query}")).await.expect_field(field, code);
    }
    for last in ["42", "audit@1", "ledger@x"] {
        let request = auditor.request(Method::GET, "/v1/logs/ledger/events").header("accept", "text/event-stream");
        let answer: Answer = send(request.header("last-event-id", last)).await;
        answer.expect_field("Last-Event-ID", "format");
    }
}

/// Asks for a stream and never reads a byte of it.
async fn unread(app: &TestApp, user: &impl User, media_type: &str) -> TcpStream {
    let request = user.request(Method::GET, "/v1/logs/ledger/events").build().unwrap();
    let authorization = request.headers()["authorization"].to_str().unwrap().to_owned();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(app.address()).await.unwrap();
    let head = format!("GET /v1/logs/ledger/events HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nAccept: {media_type}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn whoever_asks_for_little_is_answered_beside_any_number_of_streams_that_nobody_reads(engine: Engine) {
    let app = TestApp::start(engine).await;
    let (issuer, auditor) = (app.issuer().await, app.inspector().await);
    let log = &app.services().ledger().unwrap().log;
    for thousand in 1..=4_u128 {
        let registered = (0..1000_u128).map(|number| {
            let payload = IssuerRegistered { did: format!("did:key:{number:0500}"), name: format!("{thousand}, {number}") };
            let event = New::of(&payload, &Origination::system("test").metadata(&SystemRandom));
            Append::to(Stream::issuer(Uuid::from_u128(thousand * 1000 + number)), Expected::None, vec![event])
        });
        log.commit(registered.collect()).await.unwrap();
    }
    let mut streams = Vec::new();
    for number in 0..60 {
        let media_type = ["application/x-ndjson", "application/cbor-seq", "text/event-stream"][number % 3];
        streams.push(unread(&app, &auditor, media_type).await);
    }
    for number in 0..20 {
        issuer.issue("Ada", &format!("ada{number}@example.org")).await;
        let page = auditor.get("/v1/logs/ledger/events?limit=1").await.expect(200).body;
        assert_eq!(positions(&page["items"]), ["ledger@0"]);
        eventually("ready", || async { app.anonymous().get("/health/ready").await.status == 200 }).await;
    }
    // One that is read comes to its end beside them.
    let lines = read_as(&auditor, "/v1/logs/ledger/events", "application/x-ndjson").await.text().await.unwrap();
    assert!(lines.lines().count() > 4000);
    drop(streams);
}

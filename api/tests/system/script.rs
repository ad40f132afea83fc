//! One recorded script of requests, on both engines, with injected time, randomness and origin: byte-equal answers and
//! byte-equal logs. What an engine adds of its own would show here.

use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::process::run_well;
use crate::store::Store;

mod node;

use node::Node;

/// What was asked and what was answered.
#[derive(Debug, PartialEq, Eq)]
struct Exchange {
    request: String,
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Sends requests one after the other and keeps what is answered.
struct Recorder<'a> {
    node: &'a Node,
    admin: Client,
    anonymous: Client,
    exchanges: Vec<Exchange>,
}

impl Recorder<'_> {
    async fn record(&mut self, client: &Client, method: &str, path: &str, body: Option<&str>, headers: &[(&str, &str)]) -> Answer {
        let id = format!("request-{}", self.exchanges.len());
        let mut headers = headers.to_vec();
        headers.push(("X-Request-Id", &id));
        let answer = client.send_text(method, path, body, &headers).await;
        let kept = [
            "content-type",
            "location",
            "ledger-position",
            "ledger-as-of",
            "idempotency-replayed",
            "www-authenticate",
            "allow",
            "x-worker-id",
            "x-request-id",
        ];
        let kept = kept.iter().filter_map(|name| Some(((*name).to_owned(), answer.header(name)?.to_owned()))).collect();
        let request = format!("{method} {path} {}", body.unwrap_or(""));
        self.exchanges.push(Exchange { request, status: answer.status, headers: kept, body: answer.text.clone() });
        answer
    }

    /// An act that will be appended to the ledger, at a later time than all before: time moves only here, because what is
    /// appended brings the read models to it at once.
    async fn act_later(&mut self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.node.advance();
        self.act(path, body, headers).await
    }

    /// An act that may be refused.
    async fn act(&mut self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let client = self.admin.clone();
        let answer = self.record(&client, "POST", path, Some(&body.to_string()), headers).await;
        self.node.settle().await;
        answer
    }

    async fn ask(&mut self, body: &Value) -> Answer {
        let client = self.anonymous.clone();
        let answer = self.record(&client, "POST", "/v1/verifications", Some(&body.to_string()), &[]).await;
        self.node.settle().await;
        answer
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let client = self.admin.clone();
        let answer = self.record(&client, "GET", path, None, headers).await;
        self.node.settle().await;
        answer
    }

    async fn refused(&mut self, path: &str, body: &str) {
        let client = self.admin.clone();
        let answer = self.record(&client, "POST", path, Some(body), &[]).await;
        assert!((400..500).contains(&answer.status), "{body}: {} {}", answer.status, answer.text);
    }
}

async fn play(node: &Node) -> Vec<Exchange> {
    let mut script = Recorder { node, admin: node.admin(), anonymous: node.anonymous(), exchanges: Vec::new() };
    let types = ["badge", "certificate", "licence \u{200f}رخصة", "type 🎓"];
    let mut issued = Vec::new();
    for n in 0..20 {
        let mut body = json!({
            "type": types[n % types.len()],
            "subject": {"name": format!("  Zoe\u{308}  Number {n} "), "email": format!("ZOE-{n}@Example.org")},
        });
        if n % 2 == 0 {
            body["claims"] = json!({"z": 1.0, "a": [n, "'; drop table events; --", {"<b>": null}], "e": 1e21});
        }
        if n % 3 == 0 {
            body["subject"]["id"] = json!(format!("did:example:{n}"));
        }
        if n % 5 == 0 {
            body["valid_from"] = json!("2030-01-01T00:00:00+02:00");
        }
        if n % 7 == 0 {
            body["valid_until"] = json!("2020-01-01T00:00:00.123456Z");
        }
        let key = format!("key-{n}");
        let answer = script.act_later("/v1/credentials", &body, &[("Idempotency-Key", &key)]).await;
        assert!(answer.status == 201 || n == 0, "{}", answer.text);
        if n % 4 == 0 {
            script.act("/v1/credentials", &body, &[("Idempotency-Key", &key)]).await;
            script.act("/v1/credentials", &body, &[]).await;
        }
        if answer.status == 201 {
            issued.push(answer.body);
        }
    }
    for n in 0..6 {
        let secret = json!({"type": "token", "secret": format!("opaque {n}")});
        issued.push(script.act_later("/v1/credentials", &secret, &[]).await.expect(201).body);
        script.ask(&json!({"secret": format!("opaque {n}")})).await.expect(200);
    }
    for (n, credential) in issued.iter().enumerate() {
        let id = credential["id"].as_str().unwrap().to_owned();
        script.ask(&json!({"id": id})).await.expect(200);
        script.ask(&json!({"id": id, "subject": {"email": format!("zoe-{}@example.org", n + n % 2)}})).await.expect(200);
        script.ask(&json!({"digest": credential["digest"]})).await.expect(200);
        if !credential["document"].is_null() {
            let mut document = credential["document"].clone();
            script.ask(&json!({"document": document})).await.expect(200);
            document["credentialSubject"]["name"] = json!("Somebody Else");
            script.ask(&json!({"document": document})).await.expect(200);
        }
        let acts: &[&str] =
            [&["suspend", "suspend", "reinstate", "reinstate"][..], &["revoke", "revoke"], &["suspend", "revoke", "reinstate"]][n % 3];
        for (step, act) in acts.iter().enumerate() {
            let (path, body) = (format!("/v1/credentials/{id}/{act}"), json!({"reason": format!("because {n}\nof that")}));
            if step == 0 {
                script.act_later(&path, &body, &[]).await.expect(200);
            } else {
                script.act(&path, &body, &[]).await;
            }
        }
        script.ask(&json!({"id": id})).await.expect(200);
        script.ask(&json!({"id": id, "as_of_position": credential["position"]})).await.expect(200);
        script.get(&format!("/v1/credentials/{id}"), &[]).await.expect(200);
        script.get(&format!("/v1/credentials/{id}/events"), &[]).await.expect(200);
        script.get(&format!("/v1/credentials/{id}/verifications"), &[]).await.expect(200);
    }
    for query in [
        "",
        "?limit=3",
        "?status=revoked",
        "?status=active&limit=2",
        "?status=expired",
        "?status=not_yet_valid",
        "?status=suspended",
        "?type=badge",
        "?limit=0",
        "?unknown=1",
        "?cursor=nonsense",
    ] {
        let answer = script.get(&format!("/v1/credentials{query}"), &[]).await;
        if let Some(next) = answer.body["next_cursor"].as_str() {
            let joint = if query.is_empty() { "?" } else { "&" };
            script.get(&format!("/v1/credentials{query}{joint}cursor={next}"), &[]).await.expect(200);
        }
    }
    for body in [
        json!({"email": "ZOE-3@example.org"}),
        json!({"name": "Zoë Number 3"}),
        json!({"email": "nobody@example.org"}),
        json!({"type": "badge", "status": "revoked"}),
    ] {
        let client = script.admin.clone();
        script.record(&client, "POST", "/v1/credentials/search", Some(&body.to_string()), &[]).await.expect(200);
    }
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"a\",\"type\":\"b\"}",
        "{\"type\":\" \",\"subject\":{}}",
        "{\"type\":\"\\ud800\"}",
        "{\"type\":\"x\",\"secret\":\"\\u0000\"}",
        "{\"type\":\"x\",\"subject\":{\"name\":\"n\",\"email\":\"no\"}}",
        "{\"type\":\"x\",\"secret\":\"s\",\"more\":1}",
        "{\"claims\":{\"n\":9007199254740993}}",
    ] {
        script.refused("/v1/credentials", body).await;
    }
    for body in [
        "{}",
        "{\"id\":\"x\",\"secret\":\"y\"}",
        "{\"id\":7}",
        "{\"digest\":\"md5:00\"}",
        "{\"document\":[]}",
        "{\"secret\":\"s\",\"as_of\":\"yesterday\"}",
    ] {
        script.refused("/v1/verifications", body).await;
    }
    for path in ["/v1/credentials/0198c5a2-0000-7000-8000-000000000001", "/v1/credentials/nonsense", "/v1/nothing", "/v1/logs/other/events"]
    {
        script.get(path, &[]).await.expect(404);
    }
    for accept in ["application/json", "application/x-ndjson", "application/cbor-seq"] {
        for log in ["ledger", "audit"] {
            script.get(&format!("/v1/logs/{log}/events?limit=50"), &[("Accept", accept)]).await.expect(200);
        }
    }
    script.get("/v1/logs/ledger/events?open=true&type=CredentialIssued&limit=7", &[]).await.expect(200);
    script.get("/v1/logs/ledger/events?stream=nonsense", &[]).await.expect(422);
    let dialects = [
        (
            "/issuance/credentials",
            json!({"name": "Old Client", "email": "old@example.org", "credentialType": "badge", "metadata": {"a": 1}}),
        ),
        ("/issuance/credentials", json!({"name": "old  client", "email": "x", "credentialType": ""})),
        ("/issue", json!({"credential": "an older secret"})),
        ("/issue", json!({"credential": "an older secret"})),
        ("/issue", json!({"credential": 7})),
        ("/verify", json!({"credential": "an older secret"})),
        ("/check", json!({"credential_hash": "00"})),
        ("/verification/credentials", json!({"id": "nonsense"})),
    ];
    for (path, body) in dialects {
        script.act(path, &body, &[]).await;
    }
    script.exchanges
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_script_gives_equal_bytes_on_both_engines() {
    let mut recorded = Vec::new();
    for store in [Store::sqlite(), Store::postgres().await] {
        let node = Node::start(&store).await;
        let exchanges = play(&node).await;
        node.stop().await;
        let logs = ["ledger", "audit"].map(|log| run_well(&store, &["replay", "--log", log, "--format", "cbor"]));
        recorded.push((exchanges, logs));
    }
    let (postgres, sqlite) = (recorded.pop().unwrap(), recorded.pop().unwrap());
    assert!(sqlite.0.len() >= 200, "{} requests", sqlite.0.len());
    assert!(sqlite.0.iter().all(|exchange| exchange.status < 500));
    for (on_sqlite, on_postgres) in sqlite.0.iter().zip(&postgres.0) {
        assert_eq!(on_sqlite, on_postgres);
    }
    assert_eq!(sqlite.0.len(), postgres.0.len());
    assert!(sqlite.1 == postgres.1, "the logs differ");
}

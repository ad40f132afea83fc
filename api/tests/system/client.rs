//! An HTTP client of the service, with the requests that the tests repeat.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body as JSON; null if it is none.
    pub(crate) body: Value,
    /// The body as it came; bytes that are no text in hex.
    pub(crate) text: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The position in the header `Ledger-Position`.
    pub(crate) fn position(&self) -> u64 {
        place(self.header("ledger-position").expect("an append answers its position"))
    }

    /// The credential's id.
    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }

    /// Stops the test unless the status is `status`.
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

/// The number in `ledger@42`.
pub(crate) fn place(text: &str) -> u64 {
    text.split_once('@').and_then(|(_, digits)| digits.parse().ok()).unwrap_or_else(|| panic!("no position: {text}"))
}

/// A client of one process.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Client {
    pub(crate) fn new(base: &str, key: Option<String>) -> Client {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Client { http, base: base.to_owned(), key }
    }

    /// Sends a request; an error is a broken connection or a time-out.
    pub(crate) async fn try_post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body, &[]).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base))).await.unwrap()
    }

    /// The body as text, whatever it is.
    pub(crate) async fn text(&self, path: &str) -> String {
        self.http.get(format!("{}{path}", self.base)).send().await.unwrap().text().await.unwrap()
    }

    /// Sends a body as it is, which need not be JSON.
    pub(crate) async fn send_text(&self, method: &str, path: &str, body: Option<&str>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request).await.unwrap()
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<Answer, reqwest::Error> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| hex::encode(&bytes));
        Ok(Answer { status, headers, body, text })
    }

    /// Issues a badge to the subject number `n`.
    pub(crate) async fn issue(&self, n: usize) -> Answer {
        self.post("/v1/credentials", &badge(n)).await
    }

    /// Revokes, suspends or reinstates.
    pub(crate) async fn act(&self, id: &str, act: &str) -> Answer {
        self.post(&format!("/v1/credentials/{id}/{act}"), &json!({})).await
    }

    /// Asks for a verdict by id.
    pub(crate) async fn verify(&self, id: &str) -> Answer {
        self.post("/v1/verifications", &json!({"id": id})).await
    }

    /// Asks for a verdict by id, once the read model has passed `position`.
    pub(crate) async fn verify_at_least(&self, id: &str, position: u64) -> Answer {
        let wanted = format!("ledger@{position}");
        self.try_post("/v1/verifications", &json!({"id": id}), &[("Ledger-Min-Position", &wanted)]).await.unwrap()
    }
}

/// The body of an ordinary issuance, different for each `n`.
pub(crate) fn badge(n: usize) -> Value {
    json!({
        "type": "developer-certificate",
        "subject": {"name": format!("Subject {n}"), "email": format!("subject-{n}@example.org")},
        "claims": {"course": "Distributed systems", "number": n},
    })
}

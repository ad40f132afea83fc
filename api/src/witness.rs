//! Witnesses over HTTP: has a log's checkpoints cosigned by the C2SP tlog-witness protocol.
//!
//! Nothing that a witness says is taken for granted: its cosignatures are checked by whoever asked. How long an answer is waited for
//! is the asker's to say; to stop waiting loses nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use axum::http::{Method, Request, StatusCode, Uri, header};
use credence_ledger::causes;
use credence_ledger::checkpoint::{Checkpoint, VerifierKey};
use credence_ledger::publisher::cosigners::Cosigners;
use credence_ledger::publisher::witness::{Refusal, Witness, request};
use credence_ledger::tiles::Tiles;
use credence_ledger::tree::TreeSize;
use http_body_util::Full;

use crate::client::{self, Client, MalformedUrl};
use crate::config::{Asked, Witnesses};

/// The largest answer that is read: dozens of signature lines.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// The type of an answer that tells the size that the witness saw last.
const SIZE: &str = "text/x.tlog.size";

/// Where a witness is asked: its submission prefix and what is asked there.
///
/// # Errors
/// [`MalformedUrl`].
pub fn address(prefix: &str) -> Result<Uri, MalformedUrl> {
    client::address(prefix, "/add-checkpoint")
}

/// Who cosigns one log's checkpoints; nobody unless that is configured.
#[must_use]
pub fn cosigners(configured: Option<&Witnesses>, client: &Client) -> Cosigners {
    let Some(Witnesses { asked, quorum }) = configured else { return Cosigners::none() };
    let witness = |asked: &Asked| Arc::new(HttpWitness::new(asked.key.clone(), asked.address.clone(), client.clone())) as Arc<dyn Witness>;
    Cosigners::new(asked.iter().map(witness).collect(), quorum.clone())
}

/// A witness of one log.
pub struct HttpWitness {
    key: VerifierKey,
    address: Uri,
    client: Client,
    /// The size of the tree that it saw last, as far as this process knows. A wrong one costs a second request.
    seen: AtomicU64,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    is_size: bool,
    text: String,
}

impl HttpWitness {
    /// Of one log: what it has seen of another is another's to know.
    #[must_use]
    pub fn new(key: VerifierKey, address: Uri, client: Client) -> HttpWitness {
        HttpWitness { key, address, client, seen: AtomicU64::new(0) }
    }

    async fn post(&self, body: String) -> Result<Answer, Refusal> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.address.clone())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::from(body))
            .map_err(|error| self.no_answer("no request can be made of its URL", &error))?;
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await.map_err(|error| self.no_answer(&error.to_string(), &error))?;
        let is_size = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_size);
        let text = String::from_utf8(answer.body.into()).map_err(|error| self.no_answer("its answer is no text", &error))?;
        Ok(Answer { status: answer.status, is_size, text })
    }

    /// What is told of it names no address: readiness repeats it. The log of the process has the rest.
    fn no_answer(&self, what: &str, error: &dyn std::error::Error) -> Refusal {
        tracing::debug!(witness = self.key.name(), reason = causes(error), what, "a witness did not answer");
        Refusal::NoAnswer(what.to_owned())
    }

    /// What an answer means to whoever proved `size` from `seen`.
    fn read(&self, answer: Answer, seen: TreeSize, size: TreeSize) -> Result<Told, Refusal> {
        match answer.status {
            StatusCode::OK => Ok(Told::Cosigned(answer.text)),
            StatusCode::CONFLICT => match answer.size() {
                Some(told) if told > size => Err(Refusal::Ahead(told)),
                Some(told) if told != seen => Ok(Told::Seen(told)),
                // It has seen this size, and with another root.
                _ if seen == size => Err(Refusal::Forked),
                _ => Err(Refusal::NoAnswer("it does not tell what it has seen (status 409)".to_owned())),
            },
            StatusCode::UNPROCESSABLE_ENTITY => Err(Refusal::Forked),
            status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => Err(Refusal::Unknown(status.as_u16())),
            status => Err(Refusal::NoAnswer(format!("status {}", status.as_u16()))),
        }
    }

    fn knows(&self, seen: TreeSize) {
        self.seen.store(seen.0, Ordering::Relaxed);
    }
}

/// Whether an answer of this type tells a size.
fn is_size(kind: &str) -> bool {
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(SIZE))
}

enum Told {
    /// Signature lines.
    Cosigned(String),
    /// The size that it saw last, which is another than was thought.
    Seen(TreeSize),
}

impl Answer {
    /// The size that it tells: decimal, without leading zeros, and a newline.
    fn size(&self) -> Option<TreeSize> {
        let digits = self.text.strip_suffix('\n').filter(|_| self.is_size)?;
        let size: u64 = digits.parse().ok()?;
        (size.to_string() == digits && size <= TreeSize::MAX.0).then_some(TreeSize(size))
    }
}

#[async_trait]
impl Witness for HttpWitness {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn cosign(&self, checkpoint: &Checkpoint, tiles: &dyn Tiles) -> Result<String, Refusal> {
        let size = checkpoint.head().size;
        // What it has seen may be more than this checkpoint, which then is not the newest: it will say so.
        let mut seen = TreeSize(self.seen.load(Ordering::Relaxed)).min(size);
        // The first time it may tell that it has seen another size: since this process began, or because another asks it, too.
        for _ in 0..2 {
            let answer = self.post(request(checkpoint, seen, tiles).await?).await?;
            match self.read(answer, seen, size)? {
                Told::Cosigned(lines) => {
                    self.knows(size);
                    return Ok(lines);
                }
                Told::Seen(told) => {
                    self.knows(told);
                    seen = told;
                }
            }
        }
        Err(Refusal::NoAnswer("it has seen another size each time it was asked".to_owned()))
    }
}

impl fmt::Debug for HttpWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWitness").field("key", &self.key).field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

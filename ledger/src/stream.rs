//! The name of a stream: the events of one thing, `category/uuid`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// A stream's name, such as `credential/0198c5a2-…`. The category is lower-case ASCII letters and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(Arc<str>);

/// The categories in use. A projection says which of them it folds.
pub mod category {
    /// Issuing organisations; ledger log, and in the audit log what was done with their signing keys.
    pub const ISSUER: &str = "issuer";
    /// Credentials; ledger log.
    pub const CREDENTIAL: &str = "credential";
    /// Whom credentials are about; ledger log. Empty until the subject is erased.
    pub const SUBJECT: &str = "subject";
    /// One stream a verdict; audit log.
    pub const VERIFICATION: &str = "verification";
    /// Reads that opened sealed fields, one stream a request; audit log.
    pub const ACCESS: &str = "access";
    /// API keys, by the key's id; audit log.
    pub const KEY: &str = "key";
    /// Accounts, by the account's id; audit log.
    pub const ACCOUNT: &str = "account";
    /// Sessions of accounts, by the session's id; audit log.
    pub const SESSION: &str = "session";
    /// Orders to erase somebody, one stream an order; audit log.
    pub const ERASURE: &str = "erasure";
    /// Rebuilds of read models, by the rebuild's id; audit log.
    pub const REBUILD: &str = "rebuild";
    /// Details that were let go: one stream, of the nil UUID; audit log.
    pub const RETENTION: &str = "retention";
}

impl Stream {
    /// The stream of the thing `id` of `category`, which is one of [`category`].
    #[must_use]
    pub fn new(category: &'static str, id: Uuid) -> Stream {
        Stream(format!("{category}/{id}").into())
    }

    /// A credential's stream.
    #[must_use]
    pub fn credential(id: Uuid) -> Stream {
        Stream::new(category::CREDENTIAL, id)
    }

    /// An issuer's stream.
    #[must_use]
    pub fn issuer(id: Uuid) -> Stream {
        Stream::new(category::ISSUER, id)
    }

    /// A subject's stream.
    #[must_use]
    pub fn subject(id: Uuid) -> Stream {
        Stream::new(category::SUBJECT, id)
    }

    /// The one stream of the audit log's details that were let go.
    #[must_use]
    pub fn retention() -> Stream {
        Stream::new(category::RETENTION, Uuid::nil())
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What kind of thing this is.
    #[must_use]
    pub fn category(&self) -> &str {
        self.0.split_once('/').map_or("", |(category, _)| category)
    }

    /// Which thing this is.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.split_once('/').and_then(|(_, id)| id.parse().ok()).unwrap_or_default()
    }
}

/// A text that is no stream's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a category, '/' and a UUID in lower case")]
pub struct Malformed;

impl FromStr for Stream {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (category, id) = text.split_once('/').ok_or(Malformed)?;
        let named = !category.is_empty() && category.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        let uuid: Uuid = id.parse().map_err(|_| Malformed)?;
        if named && uuid.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == id { Ok(Stream(text.into())) } else { Err(Malformed) }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_category_and_a_uuid_in_lower_case() {
        let stream: Stream = "credential/0198c5a2-0000-7000-8000-000000000001".parse().expect("well formed");
        assert_eq!(stream.category(), "credential");
        assert_eq!(stream, Stream::credential(stream.id()));
        for text in [
            "",
            "credential",
            "credential/",
            "/0198c5a2-0000-7000-8000-000000000001",
            "Credential/0198c5a2-0000-7000-8000-000000000001",
            "credential/0198C5A2-0000-7000-8000-000000000001",
            "credential/0198c5a2000070008000000000000001",
        ] {
            assert_eq!(text.parse::<Stream>(), Err(Malformed), "{text}");
        }
    }
}

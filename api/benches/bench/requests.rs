//! What is asked: issuances, verifications, and the issuances that give the verifications something to find.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use crate::generator::Script;

/// An issued credential, to be verified.
#[derive(Clone, Copy)]
pub(crate) struct Issued {
    /// Ordered by time.
    pub(crate) id: Uuid,
    /// The holder's number, which name and e-mail address are made from.
    pub(crate) subject: u64,
    pub(crate) revoked: bool,
}

/// Writes a request to issue to a new subject, with about 200 bytes of claims, and answers the subject's number.
pub(crate) fn write_issuance(body: &mut Vec<u8>) -> u64 {
    static SUBJECTS: AtomicU64 = AtomicU64::new(0);
    let subject = SUBJECTS.fetch_add(1, Ordering::Relaxed);
    write!(
        body,
        r#"{{"type":"developer-certificate","subject":{{"name":"Subject {subject}","email":"subject-{subject}@example.org"}},"claims":{{"course":"#,
    )
    .unwrap();
    body.extend_from_slice(br#""Distributed systems, from the clock to the quorum","grade":"with distinction","hours":120,"#);
    body.extend_from_slice(br#""modules":["replication","consensus","storage","failure","time"],"place":"online","language":"en"}}"#);
    subject
}

/// Issues to a new subject each.
pub(crate) struct Issuance {
    /// The status that must come.
    status: u16,
    subject: u64,
    /// The last one issued.
    pub(crate) last: Option<Issued>,
}

impl Issuance {
    /// One script a connection.
    pub(crate) fn scripts(connections: usize) -> Vec<Issuance> {
        (0..connections).map(|_| Issuance::answered_by(201)).collect()
    }

    /// The same requests to the handler that does nothing.
    pub(crate) fn to_handler(connections: usize) -> Vec<Issuance> {
        (0..connections).map(|_| Issuance::answered_by(200)).collect()
    }

    fn answered_by(status: u16) -> Issuance {
        Issuance { status, subject: 0, last: None }
    }
}

impl Script for Issuance {
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        path.extend_from_slice(b"/v1/credentials");
        self.subject = write_issuance(body);
        true
    }

    fn hear(&mut self, status: u16, body: &[u8]) {
        must_be(self.status, status, body);
        if status == 201 {
            self.last = Some(Issued { id: id_in(body), subject: self.subject, revoked: false });
        }
    }
}

/// Issues a number of credentials, shared with the other connections, and keeps them.
pub(crate) struct Filling {
    issuance: Issuance,
    left: Arc<AtomicU64>,
    /// Whether every tenth is revoked right after it was issued.
    revoking: bool,
    to_revoke: bool,
    pub(crate) issued: Vec<Issued>,
}

impl Filling {
    /// One script a connection. Without revoking, no credential is kept either.
    pub(crate) fn scripts(connections: usize, credentials: u64, revoking: bool) -> Vec<Filling> {
        let left = Arc::new(AtomicU64::new(credentials));
        let script = |_| {
            let (issuance, left) = (Issuance::answered_by(201), Arc::clone(&left));
            Filling { issuance, left, revoking, to_revoke: false, issued: Vec::new() }
        };
        (0..connections).map(script).collect()
    }

    /// The last one issued.
    pub(crate) fn last(&self) -> Option<Issued> {
        self.issuance.last
    }
}

impl Script for Filling {
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        if self.to_revoke {
            let issued = self.issued.last().expect("it was issued");
            write!(path, "/v1/credentials/{}/revoke", issued.id).unwrap();
            body.extend_from_slice(b"{}");
            return true;
        }
        let one_more = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        one_more && self.issuance.ask(path, body)
    }

    fn hear(&mut self, status: u16, body: &[u8]) {
        if self.to_revoke {
            must_be(200, status, body);
            self.to_revoke = false;
            self.issued.last_mut().expect("it was issued").revoked = true;
            return;
        }
        self.issuance.hear(status, body);
        if self.revoking {
            self.issued.extend(self.issuance.last);
            self.to_revoke = self.issued.len().is_multiple_of(10);
        }
    }
}

/// Verifies credentials by id, each as likely as any other, every second time with the holder's e-mail address.
pub(crate) struct Verification {
    issued: Arc<[Issued]>,
    random: u64,
    asked: Issued,
    /// How many verdicts were answered.
    pub(crate) verdicts: u64,
}

impl Verification {
    /// One script a connection.
    pub(crate) fn scripts(connections: usize, issued: &Arc<[Issued]>) -> Vec<Verification> {
        static SEED: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
        let script = |_| {
            let random = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1;
            Verification { issued: Arc::clone(issued), random, asked: issued[0], verdicts: 0 }
        };
        (0..connections).map(script).collect()
    }

    /// Xorshift: fast, and even enough to spread requests.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Script for Verification {
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        let random = self.next_random() >> 1;
        let one = usize::try_from((random >> 1) % self.issued.len() as u64).expect("an index of the list");
        self.asked = self.issued[one];
        path.extend_from_slice(b"/v1/verifications");
        let Issued { id, subject, .. } = self.asked;
        if random.is_multiple_of(2) {
            write!(body, r#"{{"id":"{id}"}}"#).unwrap();
        } else {
            write!(body, r#"{{"id":"{id}","subject":{{"email":"subject-{subject}@example.org"}}}}"#).unwrap();
        }
        true
    }

    fn hear(&mut self, status: u16, body: &[u8]) {
        must_be(200, status, body);
        let expected: &[u8] = if self.asked.revoked { br#"{"valid":false,"status":"revoked""# } else { br#"{"valid":true,"# };
        assert!(body.starts_with(expected), "a wrong verdict: {}", String::from_utf8_lossy(body));
        self.verdicts += 1;
    }
}

/// Asks for one credential until the read model has it.
pub(crate) struct Awaited {
    pub(crate) credential: Issued,
    pub(crate) is_known: bool,
}

impl Script for Awaited {
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        path.extend_from_slice(b"/v1/verifications");
        write!(body, r#"{{"id":"{}"}}"#, self.credential.id).unwrap();
        !self.is_known
    }

    fn hear(&mut self, status: u16, body: &[u8]) {
        must_be(200, status, body);
        self.is_known = memchr::memmem::find(body, br#""status":"not_found""#).is_none();
        if !self.is_known {
            // The connection's thread has nothing else to do.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

fn must_be(expected: u16, status: u16, body: &[u8]) {
    assert_eq!(status, expected, "{}", String::from_utf8_lossy(body));
}

/// The first member `id`, which is the credential's.
fn id_in(body: &[u8]) -> Uuid {
    const MEMBER: &[u8] = br#""id":""#;
    let start = memchr::memmem::find(body, MEMBER).expect("an answer names the credential") + MEMBER.len();
    Uuid::try_parse_ascii(&body[start..start + 36]).expect("an id is a UUID")
}

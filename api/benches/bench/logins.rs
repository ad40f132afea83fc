//! What it takes to be refused a session: with a wrong password, and with a name that is nobody's. The two must not be told apart.

use serde_json::json;

use crate::generator::{self, Script, Target, Window};
use crate::product::Server;
use crate::report::Run;

/// Somebody's.
pub(crate) const KNOWN: &str = "bench";
/// Nobody's.
pub(crate) const UNKNOWN: &str = "nobody";

/// A server with one account.
pub(crate) struct Logins {
    target: Target,
}

/// Asks the same again and again, and is answered the same.
struct Same {
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    left: u64,
}

impl Script for Same {
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        path.extend_from_slice(self.path.as_bytes());
        body.extend_from_slice(&self.body);
        let goes_on = self.left > 0;
        self.left = self.left.saturating_sub(1);
        goes_on
    }

    fn hear(&mut self, status: u16, body: &[u8]) {
        assert_eq!(status, self.status, "{}", String::from_utf8_lossy(body));
    }
}

impl Logins {
    /// Registers the account.
    pub(crate) async fn new(server: &Server) -> Logins {
        let account = json!({"username": KNOWN, "email": "bench@example.org", "password": "a winter's bicycle, humming"});
        let body = account.to_string().into_bytes();
        let register = Same { path: "/v1/auth/register", body, status: 201, left: 1 };
        generator::through(&Target::with_key(&server.address, &server.key), vec![register]).await;
        Logins { target: Target::anonymous(&server.address) }
    }

    /// One connection is refused again and again.
    pub(crate) async fn run(&self, identifier: &str, window: Window) -> Run {
        let body = json!({"identifier": identifier, "password": "a wrong password"}).to_string().into_bytes();
        let refused = Same { path: "/v1/auth/login", body, status: 401, left: u64::MAX };
        generator::closed(&self.target, vec![refused], window).await.0
    }
}

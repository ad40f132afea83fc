//! People with accounts.

use serde_json::{Value, json};

use super::{Answer, Session, TestApp, User};

/// One that is taken.
pub const PASSWORD: &str = "a winter's bicycle, humming";

/// Makes an account of the caller's organisation, and answers its id. Its address is `<username>@example.org`.
pub async fn register(admin: &impl User, username: &str) -> String {
    let body = json!({
        "username": username, "email": format!("{username}@example.org"), "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace",
    });
    admin.post("/v1/auth/register", &body).await.expect(201).body["id"].as_str().unwrap().to_owned()
}

/// Somebody in a session.
pub struct LoggedIn {
    /// Makes requests with the access token.
    pub session: Session,
    pub refresh_token: String,
}

/// Logs in.
pub async fn log_in(app: &TestApp, identifier: &str, password: &str) -> LoggedIn {
    let body = json!({"identifier": identifier, "password": password});
    LoggedIn::of(app, &app.anonymous().post("/v1/auth/login", &body).await.expect(200).body)
}

impl LoggedIn {
    /// With the tokens that were answered.
    pub fn of(app: &TestApp, tokens: &Value) -> LoggedIn {
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        let session = Session { key: Some(text("access_token")), ..app.anonymous().0 };
        LoggedIn { session, refresh_token: text("refresh_token") }
    }

    /// Asks for the next tokens.
    pub async fn refresh(&self, app: &TestApp) -> Answer {
        app.anonymous().post("/v1/auth/refresh", &json!({"refresh_token": self.refresh_token})).await
    }
}

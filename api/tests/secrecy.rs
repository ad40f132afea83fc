//! Nothing secret is logged or answered: the whole API is used, rightly and wrongly, by a process that logs all it can, and what it
//! logged and answered is searched for every secret that was used.

#![cfg(test)]

mod support;

use std::sync::Mutex;

use credence_api::policy;
use memchr::memmem;
use reqwest::Method;
use serde_json::{Value, json};
use support::accounts::PASSWORD;
use support::{Answer, Child, Engine, Session, Stores, User, send};

engines!(whatever_is_asked_no_secret_is_logged_or_answered);

const WRONG: &str = "a wrong one, typed in haste";
const NEW: &str = "another winter's bicycle, humming";
const OPAQUE: &str = "an opaque string that is a credential";
const PLANTED: &str = "planted-where-it-does-not-belong";

/// Asks, and remembers what was answered but for the members that tell a secret once, to its owner.
struct Listening {
    heard: Mutex<Vec<u8>>,
}

impl Listening {
    async fn ask(&self, session: &Session, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = session.request(method.parse::<Method>().unwrap(), path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = send(request).await;
        let mut told = answer.body.clone();
        if let Some(members) = told.as_object_mut() {
            for once in ["access_token", "refresh_token", "key"] {
                members.remove(once);
            }
        }
        let text = if told.is_null() { answer.text.clone() } else { told.to_string() };
        let headers = format!("{:?}", answer.headers);
        self.heard.lock().unwrap().extend(headers.bytes().chain(text.bytes()).chain(*b"\n"));
        answer
    }
}

async fn whatever_is_asked_no_secret_is_logged_or_answered(engine: Engine) {
    let stores = Stores::new(engine).await;
    // Whoever the server trusts may say any password: it stands in the URL all the same.
    let url = stores.url().replacen("@", ":the-password-of-the-store@", 1);
    let arguments = ["--store", &url, "--data-dir", stores.data_dir().to_str().unwrap(), "--log", "debug", "--log-format", "json"];
    let mut arguments = arguments.to_vec();
    let key_file = stores.folder.path().join("given.key");
    if engine == Engine::Postgres {
        std::fs::write(&key_file, "5a".repeat(32)).unwrap();
        arguments.extend(["--master-key-file", key_file.to_str().unwrap()]);
    }
    arguments.extend(["--rate-limit", "off", "--open-issuance=true", "--registration", "open"]);
    let mut child = Child::serve(stores.data_dir(), &arguments);
    let operator_key = std::fs::read_to_string(stores.data_dir().join("admin.key")).unwrap().trim().to_owned();
    let master_key =
        std::fs::read_to_string(if engine == Engine::Postgres { key_file } else { stores.data_dir().join("master.key") }).unwrap();
    let master_key = master_key.trim().to_owned();
    let (anonymous, operator) = (child.anonymous().0, child.admin(&operator_key).0);
    let listening = Listening { heard: Mutex::default() };
    let ask = async |session: &Session, method: &str, path: &str, body: Value| listening.ask(session, method, path, Some(&body)).await;
    let text = |answer: &Answer, member: &str| answer.body[member].as_str().unwrap().to_owned();

    // Rightly.
    let registration = json!({"username": "ada", "email": "ada@example.org", "password": PASSWORD});
    let account = text(&ask(&anonymous, "POST", "/v1/auth/register", registration.clone()).await.expect(201), "id");
    ask(&operator, "PUT", &format!("/v1/accounts/{account}/roles"), json!({"roles": ["issuer"]})).await.expect(200);
    let login = ask(&anonymous, "POST", "/v1/auth/login", json!({"identifier": "ada", "password": PASSWORD})).await.expect(200);
    let refreshed = ask(&anonymous, "POST", "/v1/auth/refresh", json!({"refresh_token": text(&login, "refresh_token")})).await.expect(200);
    let ada = Session { key: Some(text(&refreshed, "access_token")), ..anonymous.clone() };
    ask(&ada, "POST", "/v1/auth/introspect", json!({"token": operator_key})).await.expect(200);
    ask(&ada, "PUT", "/v1/me/password", json!({"current_password": PASSWORD, "new_password": NEW})).await.expect(204);
    ask(&ada, "POST", "/v1/credentials", json!({"type": "code", "secret": OPAQUE})).await.expect(201);
    ask(&anonymous, "POST", "/v1/verifications", json!({"secret": OPAQUE})).await.expect(200);
    ask(&anonymous, "POST", "/issue", json!({"credential": OPAQUE})).await.expect(400);
    ask(&anonymous, "POST", "/verify", json!({"credential": OPAQUE})).await.expect(200);
    let issued = json!({"type": "t", "subject": {"name": "Bob", "email": "bob@example.org"}});
    let credential = text(&ask(&ada, "POST", "/v1/credentials", issued).await.expect(201), "id");

    // Wrongly.
    for (method, path, body) in [
        ("POST", "/v1/auth/login", json!({"identifier": WRONG, "password": WRONG})),
        ("POST", "/v1/auth/login", json!({"identifier": "ada", "password": [WRONG]})),
        ("POST", "/v1/auth/register", registration),
        ("POST", "/v1/auth/register", json!({"username": WRONG, "email": WRONG, "password": "short"})),
        ("POST", "/v1/auth/refresh", json!({"refresh_token": text(&login, "refresh_token")})),
        ("POST", "/v1/auth/refresh", json!({"refresh_token": PLANTED})),
        ("PUT", "/v1/me/password", json!({"current_password": WRONG, "new_password": WRONG})),
        ("POST", "/v1/credentials", json!({"type": PLANTED, "secret": "x".repeat(5000) + PLANTED})),
    ] {
        let refused = ask(&ada, method, path, body).await.status.as_u16();
        assert!((400..500).contains(&refused), "{method} {path}: {refused}");
    }
    let mut bad = anonymous.clone();
    for presented in
        [PLANTED.to_owned(), format!("credence_{PLANTED}"), format!("eyJhbGciOiJub25lIn0.{PLANTED}.{PLANTED}"), master_key.clone()]
    {
        bad.key = Some(presented);
        ask(&bad, "POST", "/v1/verifications", json!({"id": credential})).await.expect(401);
    }

    // Every operation, as it may be asked and as it may not: with what does not belong there, as a member, an array, a query, a header.
    for (operation, _) in policy::TABLE {
        let (method, path) = operation.split_once(' ').unwrap();
        let path = path.replace("{id}", &credential).replace("{name}", "verification").replace("{log}", "audit");
        let path = path.replace("{file}", "index.html").replace("{tile}", "0/000.p/1");
        for session in [&operator, &ada, &anonymous] {
            for body in [json!({}), json!({"password": PLANTED, "secret": PLANTED, "token": [PLANTED]}), json!([PLANTED])] {
                let body = (method != "GET").then_some(&body);
                listening.ask(session, method, &path, body).await;
                listening.ask(session, method, &format!("{path}?token={PLANTED}"), body).await;
            }
            let request = session.request(method.parse().unwrap(), &path).header("x-api-key", PLANTED).header("cookie", PLANTED);
            let malformed = send(request.header("content-type", "application/json").body(format!("{{\"password\": \"{PLANTED}\", "))).await;
            listening.heard.lock().unwrap().extend(malformed.text.bytes());
        }
    }
    assert!(child.terminate().success());

    let heard = listening.heard.into_inner().unwrap();
    let logged = child.stderr();
    // On the first start the administrator's key is told once, by a line of its own.
    let logged = logged.replacen(&format!("administrator key (shown once): {operator_key}"), "", 1);
    assert!(logged.contains("\"DEBUG\"") && logged.lines().count() > 100, "it logs all it can");
    assert!(memmem::find(&heard, credential.as_bytes()).is_some(), "the search would find it");
    let digits = |text: &str| text.rsplit('_').next().unwrap()[8..].to_owned();
    let secrets = [
        PASSWORD.to_owned(),
        NEW.to_owned(),
        WRONG.to_owned(),
        OPAQUE.to_owned(),
        PLANTED.to_owned(),
        "the-password-of-the-store".to_owned(),
        master_key.clone(),
        digits(&operator_key),
        text(&login, "access_token"),
        text(&refreshed, "access_token"),
        digits(&text(&login, "refresh_token")),
        digits(&text(&refreshed, "refresh_token")),
    ];
    for secret in &secrets {
        let at = memmem::find(&heard, secret.as_bytes());
        assert_eq!(at.map(|at| String::from_utf8_lossy(&heard[at.saturating_sub(300)..(at + 100).min(heard.len())])), None, "answered");
        let line = logged.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "logged: {secret}");
    }
}

//! An OpenID Connect provider, as far as whoever takes its tokens sees it: discovery, keys, and tokens; and all that can be wrong
//! with one.
//!
//! It lives on a thread of its own, so that its death takes its connections along.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use credence_api::config::{Config, Oidc, ServeOptions, StoreOptions};
use credence_ledger::Clock as _;
use credence_ledger::clock::SystemClock;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What its tokens name as their audience.
pub const AUDIENCE: &str = "credence";

/// How it does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Well,
    /// The same, after a while.
    Slow(Duration),
    /// It takes requests and never answers.
    Hang,
    /// Its answer never ends.
    Endless,
    /// It sends whoever asks elsewhere.
    Redirect,
    /// It answers this status and nothing else.
    Status(u16),
    /// This stands in its discovery document, in the place of what should.
    Discovery(&'static str, String),
    /// This is its key set.
    Keys(String),
}

/// A key pair of a provider's.
#[derive(Clone)]
pub struct SigningKey {
    pub id: Option<String>,
    pub algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    /// A fresh one for this algorithm.
    pub fn generate(id: &str, algorithm: Algorithm) -> SigningKey {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::ES256 => {
                EncodingKey::from_ec_der(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap().as_ref())
            }
            Algorithm::ES384 => {
                EncodingKey::from_ec_der(EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap().as_ref())
            }
            Algorithm::EdDSA => EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&random).unwrap().as_ref()),
            _ => {
                let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
                let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // What signs wants the inner key (RFC 8017), which ends what surrounds it (RFC 5958).
                EncodingKey::from_rsa_der(&pkcs8.as_ref()[26..])
            }
        };
        SigningKey { id: Some(id.to_owned()), algorithm, key }
    }

    /// The same key, for another algorithm of its family.
    pub fn with(&self, algorithm: Algorithm) -> SigningKey {
        SigningKey { algorithm, ..self.clone() }
    }

    /// The same key, without a name.
    pub fn nameless(&self) -> SigningKey {
        SigningKey { id: None, ..self.clone() }
    }

    /// The same key under another name.
    pub fn named(&self, id: &str) -> SigningKey {
        SigningKey { id: Some(id.to_owned()), ..self.clone() }
    }

    /// Its public half, as it is published, with more members.
    pub fn public(&self, more: &Value) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.extend(self.id.clone().map(|id| ("kid".to_owned(), id.into())));
        members.extend(more.as_object().unwrap().clone());
        jwk
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(|_| (), claims)
    }

    /// A token with these claims and another header.
    pub fn sign_with(&self, change: impl FnOnce(&mut Header), claims: &Value) -> String {
        let mut header = Header { kid: self.id.clone(), ..Header::new(self.algorithm) };
        change(&mut header);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// See the module.
pub struct TestProvider {
    /// Its name.
    pub issuer: String,
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    issuer: Mutex<String>,
    manner: Mutex<Manner>,
    keys: Mutex<Vec<Value>>,
    max_age_s: Mutex<Option<u64>>,
    asked: Mutex<u64>,
}

impl TestProvider {
    /// It listens, and publishes these keys.
    pub fn start(keys: &[&SigningKey]) -> TestProvider {
        let (issuer, manner) = (Mutex::default(), Mutex::new(Manner::Well));
        let state = Arc::new(State { issuer, manner, keys: Mutex::default(), max_age_s: Mutex::default(), asked: Mutex::default() });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut provider = TestProvider { issuer: String::new(), address, state, runtime: None };
        provider.live();
        provider.issuer = format!("http://{}/realms/test", provider.address);
        *provider.state.issuer.lock().unwrap() = provider.issuer.clone();
        provider.publish(keys);
        provider
    }

    /// These are its keys from now on.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_as(keys.iter().map(|key| key.public(&json!({"use": "sig"}))).collect());
    }

    /// This is its key set from now on.
    pub fn publish_as(&self, keys: Vec<Value>) {
        *self.state.keys.lock().unwrap() = keys;
    }

    pub fn does(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = manner;
    }

    /// For how long its keys are fresh, as it says.
    pub fn says_fresh_for(&self, seconds: u64) {
        *self.state.max_age_s.lock().unwrap() = Some(seconds);
    }

    /// How often it was asked for its keys, or to tell of itself while it does not do well.
    pub fn asked(&self) -> u64 {
        *self.state.asked.lock().unwrap()
    }

    /// The claims of a token that holds now, with some changed; null takes one away.
    pub fn claims(&self, changes: &Value) -> Value {
        self.claims_at(SystemClock.now().as_micros() / 1_000_000, changes)
    }

    /// The same, of a token that is issued at this time.
    pub fn claims_at(&self, now_s: u64, changes: &Value) -> Value {
        let mut claims =
            json!({"iss": self.issuer, "aud": AUDIENCE, "sub": "ada", "iat": now_s, "exp": now_s + 300, "roles": ["cr-issuer"]});
        let members = claims.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
        claims
    }

    /// A process that takes its tokens, with some of what is configured changed.
    pub fn configured(&self, change: impl FnOnce(&mut ServeOptions)) -> Oidc {
        let mut serve = ServeOptions {
            oidc_issuer: Some(self.issuer.clone()),
            oidc_audience: Some(AUDIENCE.to_owned()),
            oidc_roles: Some("cr-issuer=issuer,cr-auditor=auditor,cr-admin=admin".to_owned()),
            ..ServeOptions::default()
        };
        change(&mut serve);
        let (config, _) = Config::read(&StoreOptions::default(), &serve, std::iter::empty()).unwrap();
        config.oidc.unwrap()
    }

    /// Nobody listens any more, and all connections are cut.
    pub fn die(&mut self) {
        let runtime = self.runtime.take().unwrap();
        // Waits until the listener is closed, which a thread of another runtime may not.
        std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
    }

    /// It listens again where it did.
    pub fn live(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let state = self.state.clone();
        let router = Router::new().route("/realms/test/{*what}", get(move |Path(what): Path<String>| answer(state, what)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn answer(state: Arc<State>, what: String) -> Response {
    let manner = state.manner.lock().unwrap().clone();
    let issuer = state.issuer.lock().unwrap().clone();
    let is_discovery = what == ".well-known/openid-configuration";
    if is_discovery == matches!(manner, Manner::Hang | Manner::Endless | Manner::Redirect | Manner::Status(_) | Manner::Discovery(..)) {
        *state.asked.lock().unwrap() += 1;
    }
    if let Manner::Slow(time) = manner {
        tokio::time::sleep(time).await;
    }
    match manner {
        Manner::Hang => std::future::pending().await,
        Manner::Endless => {
            let chunk = Ok::<_, Infallible>(Bytes::from_static(&[b' '; 4096]));
            Body::from_stream(futures::stream::repeat(chunk)).into_response()
        }
        Manner::Redirect => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/realms/test/elsewhere")]).into_response(),
        Manner::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        manner if is_discovery => {
            let mut document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys"), "response_types_supported": ["code"]});
            if let Manner::Discovery(member, value) = manner {
                document[member] = value.into();
            }
            document.to_string().into_response()
        }
        Manner::Keys(text) => text.into_response(),
        Manner::Well | Manner::Slow(_) | Manner::Discovery(..) => {
            let keys = json!({"keys": *state.keys.lock().unwrap()}).to_string();
            let max_age_s = *state.max_age_s.lock().unwrap();
            match max_age_s {
                Some(seconds) => ([(header::CACHE_CONTROL, format!("public, max-age={seconds}"))], keys).into_response(),
                None => keys.into_response(),
            }
        }
    }
}

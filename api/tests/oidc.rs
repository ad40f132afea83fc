//! External identity: bearer tokens of an OpenID Connect provider, which runs here, over real HTTP.

#![cfg(test)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_api::config::ServeOptions;
use credence_api::http::health::READINESS_KEPT;
use credence_api::oidc::Times;
use credence_ledger::Timestamp;
use credence_ledger::testing::ManualClock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use support::oidc::{Manner, SigningKey, TestProvider};
use support::{Bearer, Engine, Stores, TestApp, User, command, eventually};

engines!(
    a_token_is_accepted_with_each_algorithm,
    a_token_that_does_not_hold_is_refused_and_told_why,
    an_algorithm_is_the_keys_to_choose,
    times_hold_to_the_edge_of_the_skew,
    a_rotated_key_is_accepted_at_once_and_a_withdrawn_one_no_more,
    a_rotated_key_that_no_token_names_is_accepted_at_once,
    tokens_of_unknown_keys_do_not_make_it_ask_more_often_than_it_should,
    a_caller_who_hangs_up_keeps_no_key_from_being_learnt,
    keys_are_refreshed_as_often_as_the_provider_says_within_bounds,
    a_provider_that_is_away_stops_nobody_else,
    keys_are_believed_for_a_while_without_a_provider_and_no_longer,
    an_ill_behaved_provider_is_not_believed_and_readiness_says_why,
    roles_are_mapped_and_without_one_a_known_caller_is_refused,
    two_organisations_do_not_see_each_other,
    a_bearer_is_told_who_it_is_and_a_service_what_its_token_is_worth,
    no_log_tells_whom_the_provider_means,
);

struct Scene {
    provider: TestProvider,
    key: SigningKey,
    app: TestApp,
}

impl Scene {
    /// A process that takes the tokens of a provider with one key.
    async fn start(engine: Engine) -> Scene {
        Scene::start_with(engine, |_| (), |_| ()).await
    }

    async fn start_with(engine: Engine, change: impl FnOnce(&mut ServeOptions), times: impl FnOnce(&mut Times)) -> Scene {
        let key = SigningKey::generate("first", Algorithm::ES256);
        let provider = TestProvider::start(&[&key]);
        let app = TestApp::builder(engine).await.provider(provider.configured(change), times).start().await;
        Scene { provider, key, app }
    }

    /// Whoever bears a token that holds, with some claims changed.
    fn bearer(&self, changes: &Value) -> Bearer {
        self.app.bearer(&self.key.sign(&self.provider.claims(changes)))
    }
}

/// What readiness says of the provider.
async fn said(app: &TestApp) -> String {
    tokio::time::sleep(READINESS_KEPT).await;
    let told = app.anonymous().get("/health/ready").await.expect(200).body;
    let reasons = told["warnings"].as_array().unwrap().iter().filter(|one| one["name"] == "identity-provider");
    reasons.map(|one| one["reason"].as_str().unwrap().to_owned()).collect()
}

async fn accepted(bearer: &Bearer) {
    bearer.get("/v1/credentials").await.expect(200);
}

async fn refused(bearer: &Bearer, why: &str) {
    let answer = bearer.get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    assert_eq!(answer.body["detail"], why);
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    // On a public route, too.
    bearer.post("/v1/verifications", &json!({"secret": "x"})).await.expect_problem(401, "unauthenticated");
}

async fn a_token_is_accepted_with_each_algorithm(engine: Engine) {
    let rsa = SigningKey::generate("rsa", Algorithm::RS256);
    let others = [Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA].map(|one| SigningKey::generate(&format!("{one:?}"), one));
    let provider = TestProvider::start(&[&rsa, &others[0], &others[1], &others[2]]);
    let app = TestApp::builder(engine).await.provider(provider.configured(|_| ()), |_| ()).start().await;
    let of_rsa = [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512].map(|one| rsa.with(one));
    for key in [&rsa].into_iter().chain(&of_rsa).chain(&others) {
        accepted(&app.bearer(&key.sign(&provider.claims(&json!({}))))).await;
        let access = key.sign_with(|header| header.typ = Some("at+jwt".to_owned()), &provider.claims(&json!({"aud": ["x", "credence"]})));
        accepted(&app.bearer(&access)).await;
    }
    assert_eq!(provider.asked(), 1);
    // Callers with our own keys go on, and so do those without.
    assert_eq!(app.issuer().await.issue("Ada", "ada@example.org").await["issuer"], "default");
    app.anonymous().post("/v1/verifications", &json!({"secret": "x"})).await.expect(200);
}

async fn a_token_that_does_not_hold_is_refused_and_told_why(engine: Engine) {
    let Scene { provider, key, app } = Scene::start(engine).await;
    let now_s = provider.claims(&json!({}))["iat"].as_u64().unwrap();
    for (changes, why) in [
        (json!({"aud": "another"}), "the token is for another audience"),
        (json!({"aud": null}), "the token is for another audience"),
        (json!({"exp": now_s - 100}), "it has expired"),
        (json!({"exp": null}), "the token is malformed"),
        (json!({"nbf": now_s + 100}), "the token does not hold yet"),
        (json!({"iat": now_s + 100}), "the token does not hold yet"),
        (json!({"sub": null}), "the token names no subject"),
    ] {
        refused(&app.bearer(&key.sign(&provider.claims(&changes))), why).await;
    }
    let claims = provider.claims(&json!({}));
    // It is of nobody who is known here.
    let elsewhere = key.sign(&provider.claims(&json!({"iss": "https://id.example.org"})));
    app.bearer(&elsewhere).get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    let foreign = SigningKey::generate("first", Algorithm::ES256);
    refused(&app.bearer(&foreign.sign(&claims)), "the token's signature does not hold").await;
    refused(&app.bearer(&foreign.named("foreign").sign(&claims)), "the token's key is not one of the provider's").await;
    let other_purpose = key.sign_with(|header| header.typ = Some("logout+jwt".to_owned()), &claims);
    refused(&app.bearer(&other_purpose), "the token is for another purpose").await;
    let critical = key.sign_with(|header| header.crit = Some(vec!["x".to_owned()]), &claims);
    refused(&app.bearer(&critical), "the token is malformed").await;
    // One claim changed, under the signature of another.
    let whole = key.sign(&claims);
    let changed = key.sign(&provider.claims(&json!({"roles": ["cr-admin"]})));
    let (parts, others): (Vec<&str>, Vec<&str>) = (whole.split('.').collect(), changed.split('.').collect());
    refused(&app.bearer(&[parts[0], others[1], parts[2]].join(".")), "the token's signature does not hold").await;
    refused(&app.bearer(&[parts[0], parts[1], ""].join(".")), "the token's signature does not hold").await;
    accepted(&app.bearer(&whole)).await;
}

async fn an_algorithm_is_the_keys_to_choose(engine: Engine) {
    let Scene { provider, key, app } = Scene::start(engine).await;
    let claims = provider.claims(&json!({}));
    let not_taken = "the token is not signed with an algorithm that is taken";
    let token = key.sign(&claims);
    let parts: Vec<&str> = token.split('.').collect();
    // {"alg":"none"}, {"alg":"None","kid":"first"}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIiwia2lkIjoiZmlyc3QifQ"] {
        for signature in ["", parts[2]] {
            refused(&app.bearer(&format!("{header}.{}.{signature}", parts[1])), not_taken).await;
        }
    }
    // The public key, as whoever wants to be taken for the provider finds it, as a shared secret.
    let public = key.public(&json!({"use": "sig"}));
    for secret in [public.to_string(), public["x"].as_str().unwrap().to_owned()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some("first".to_owned()), ..Header::new(algorithm) };
            let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
            refused(&app.bearer(&forged), not_taken).await;
        }
    }
    // A key that says what it is for is for nothing else.
    let (rsa, curve) = (SigningKey::generate("rsa", Algorithm::RS256), SigningKey::generate("curve", Algorithm::ES384));
    let shared = json!({"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"});
    let not_understood = json!({"kty": "XYZ", "kid": "strange", "alg": "XY1"});
    provider.publish_as(vec![
        not_understood,
        shared,
        rsa.public(&json!({"use": "sig", "alg": "RS256"})),
        rsa.named("encrypts").public(&json!({"use": "enc"})),
        rsa.named("wraps").public(&json!({"key_ops": ["wrapKey"]})),
        curve.public(&json!({"key_ops": ["verify"]})),
    ]);
    accepted(&app.bearer(&rsa.sign(&claims))).await;
    accepted(&app.bearer(&curve.sign(&claims))).await;
    let not_its = "the token's key is not one of the provider's";
    for unfit in [rsa.with(Algorithm::PS256), rsa.named("encrypts"), rsa.named("wraps"), curve.named("rsa")] {
        refused(&app.bearer(&unfit.sign(&claims)), not_its).await;
    }
    // Without a name the key is the only one that fits.
    accepted(&app.bearer(&curve.nameless().sign(&claims))).await;
    refused(&app.bearer(&key.nameless().sign(&claims)), not_its).await;
}

async fn times_hold_to_the_edge_of_the_skew(engine: Engine) {
    let key = SigningKey::generate("first", Algorithm::EdDSA);
    let provider = TestProvider::start(&[&key]);
    let now_s: u64 = 1_800_000_000;
    let clock = Arc::new(ManualClock::at(Timestamp::from_micros(now_s * 1_000_000)));
    let configured = provider.configured(|serve| serve.oidc_clock_skew_s = Some("30".to_owned()));
    let app = TestApp::builder(engine).await.clock(clock.clone()).provider(configured, |_| ());
    // No read model is confirmed as often as this clock moves.
    let app = app.with(|config| config.staleness_max = Duration::from_secs(3600)).start().await;
    let bearer = |changes: &Value| app.bearer(&key.sign(&provider.claims_at(now_s, changes)));
    accepted(&bearer(&json!({"exp": now_s - 29}))).await;
    refused(&bearer(&json!({"exp": now_s - 30})), "it has expired").await;
    for name in ["nbf", "iat"] {
        accepted(&bearer(&json!({name: now_s + 30}))).await;
        refused(&bearer(&json!({name: now_s + 31})), "the token does not hold yet").await;
    }
    let token = bearer(&json!({}));
    accepted(&token).await;
    clock.advance(Duration::from_secs(329));
    accepted(&token).await;
    clock.advance(Duration::from_secs(1));
    refused(&token, "it has expired").await;
}

async fn a_rotated_key_is_accepted_at_once_and_a_withdrawn_one_no_more(engine: Engine) {
    let scene = Scene::start(engine).await;
    let old = scene.bearer(&json!({}));
    accepted(&old).await;
    let next = SigningKey::generate("next", Algorithm::ES256);
    scene.provider.publish(&[&next]);
    // Nobody knows that yet.
    accepted(&old).await;
    let new = scene.app.bearer(&next.sign(&scene.provider.claims(&json!({}))));
    let (one, other) = tokio::join!(new.get("/v1/credentials"), new.get("/v1/credentials"));
    assert_eq!((one.expect(200).body, scene.provider.asked()), (other.expect(200).body, 2));
    refused(&scene.bearer(&json!({})), "the token's key is not one of the provider's").await;
    eventually("nobody remembers the old token", || async { old.get("/v1/credentials").await.status == 401 }).await;
}

async fn a_rotated_key_that_no_token_names_is_accepted_at_once(engine: Engine) {
    for (algorithm, why) in
        [(Algorithm::ES256, "the token's signature does not hold"), (Algorithm::EdDSA, "the token's key is not one of the provider's")]
    {
        let scene = Scene::start(engine).await;
        let bearer = |key: &SigningKey| scene.app.bearer(&key.nameless().sign(&scene.provider.claims(&json!({}))));
        accepted(&bearer(&scene.key)).await;
        let next = SigningKey::generate("next", algorithm);
        scene.provider.publish(&[&next]);
        accepted(&bearer(&next)).await;
        refused(&bearer(&scene.key), why).await;
        assert_eq!(scene.provider.asked(), 2);
    }
}

async fn tokens_of_unknown_keys_do_not_make_it_ask_more_often_than_it_should(engine: Engine) {
    let again = Duration::from_secs(2);
    let scene = Scene::start_with(engine, |_| (), |times| times.again = again).await;
    accepted(&scene.bearer(&json!({}))).await;
    let began = Instant::now();
    let flood = (0..40).map(async |number| {
        let unknown = scene.key.named(&format!("unknown-{number}"));
        refused(&scene.app.bearer(&unknown.sign(&scene.provider.claims(&json!({})))), "the token's key is not one of the provider's").await;
        accepted(&scene.bearer(&json!({}))).await;
    });
    futures::future::join_all(flood).await;
    let windows = 1 + began.elapsed().as_secs() / again.as_secs();
    assert!((2..=1 + windows).contains(&scene.provider.asked()), "asked {} times", scene.provider.asked());
    // What was new when it was not asked is known once it is asked again.
    let next = SigningKey::generate("next", Algorithm::ES256);
    scene.provider.publish(&[&next]);
    let new = scene.app.bearer(&next.sign(&scene.provider.claims(&json!({}))));
    eventually("it is asked again", || async { new.get("/v1/credentials").await.status == 200 }).await;
}

async fn a_caller_who_hangs_up_keeps_no_key_from_being_learnt(engine: Engine) {
    let scene = Scene::start(engine).await;
    accepted(&scene.bearer(&json!({}))).await;
    let next = SigningKey::generate("next", Algorithm::ES256);
    scene.provider.publish(&[&next]);
    scene.provider.does(Manner::Slow(Duration::from_millis(100)));
    let new = scene.app.bearer(&next.sign(&scene.provider.claims(&json!({}))));
    let hung_up = new.request(Method::GET, "/v1/credentials").timeout(Duration::from_millis(50)).send().await;
    assert!(hung_up.unwrap_err().is_timeout());
    // It is not asked again so soon: what it answered is known.
    accepted(&new).await;
    assert_eq!(scene.provider.asked(), 2);
}

async fn keys_are_refreshed_as_often_as_the_provider_says_within_bounds(engine: Engine) {
    let (shortest, longest) = (Duration::from_millis(500), Duration::from_secs(1));
    let key = SigningKey::generate("first", Algorithm::ES256);
    let provider = TestProvider::start(&[&key]);
    provider.says_fresh_for(0);
    let began = Instant::now();
    let times = |times: &mut Times| times.said = (shortest, longest);
    let app = TestApp::builder(engine).await.provider(provider.configured(|_| ()), times).start().await;
    let old = app.bearer(&key.sign(&provider.claims(&json!({}))));
    accepted(&old).await;
    // Withdrawn, though nobody comes with another one.
    provider.publish(&[&SigningKey::generate("next", Algorithm::ES256)]);
    eventually("it is asked of itself", || async { old.get("/v1/credentials").await.status == 401 }).await;
    provider.says_fresh_for(3600);
    let asked = provider.asked();
    assert!(u128::from(asked) <= 2 + began.elapsed().as_millis() / shortest.as_millis(), "asked {asked} times");
    eventually("an hour is longer than the longest", || async { provider.asked() >= asked + 2 }).await;
}

async fn a_provider_that_is_away_stops_nobody_else(engine: Engine) {
    let key = SigningKey::generate("first", Algorithm::ES256);
    let mut provider = TestProvider::start(&[&key]);
    provider.die();
    let again = Duration::from_millis(200);
    let app = TestApp::builder(engine).await.provider(provider.configured(|_| ()), |times| times.again = again).start().await;
    let bearer = app.bearer(&key.sign(&provider.claims(&json!({}))));
    let answer = bearer.get("/v1/credentials").await.expect_problem(503, "store-unavailable");
    assert_eq!((&answer.body["detail"], answer.header("retry-after")), (&json!("the identity provider's keys are not known"), "1"));
    assert_eq!(said(&app).await, "it cannot be reached");
    // Nor does it stop the process from being ready, or what it does for others.
    app.issuer().await.issue("Ada", "ada@example.org").await;
    app.anonymous().post("/v1/verifications", &json!({"secret": "x"})).await.expect(200);
    app.bearer(&key.sign(&json!({"iss": "x"}))).get("/v1/credentials").await.expect_problem(401, "unauthenticated");
    provider.live();
    eventually("it is asked again, though nobody comes", || async { said(&app).await.is_empty() }).await;
    accepted(&bearer).await;
}

async fn keys_are_believed_for_a_while_without_a_provider_and_no_longer(engine: Engine) {
    let change = |times: &mut Times| {
        (times.fresh, times.again, times.kept) = (Duration::from_millis(100), Duration::from_millis(100), Duration::from_secs(4));
    };
    let mut scene = Scene::start_with(engine, |_| (), change).await;
    let bearer = scene.bearer(&json!({}));
    accepted(&bearer).await;
    scene.provider.die();
    eventually("it is missed", || async { said(&scene.app).await == "it cannot be reached" }).await;
    accepted(&scene.bearer(&json!({}))).await;
    // Whether this key is the provider's by now, nobody can tell.
    let next = scene.app.bearer(&scene.key.named("next").sign(&scene.provider.claims(&json!({}))));
    next.get("/v1/credentials").await.expect_problem(503, "store-unavailable");
    eventually("nothing is believed any more", || async { bearer.get("/v1/credentials").await.status == 503 }).await;
    scene.provider.live();
    eventually("it is back", || async { said(&scene.app).await.is_empty() }).await;
    accepted(&bearer).await;
}

async fn an_ill_behaved_provider_is_not_believed_and_readiness_says_why(engine: Engine) {
    let change = |times: &mut Times| {
        (times.fresh, times.again, times.answer) = (Duration::from_millis(50), Duration::from_millis(50), Duration::from_millis(400));
    };
    let scene = Scene::start_with(engine, |_| (), change).await;
    accepted(&scene.bearer(&json!({}))).await;
    let empty = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
    for (manner, why) in [
        (Manner::Hang, "it did not answer in time"),
        (Manner::Endless, "its answer cannot be read"),
        (Manner::Redirect, "it answers with status 307"),
        (Manner::Status(500), "it answers with status 500"),
        (Manner::Discovery("issuer", "https://id.example.org".to_owned()), "its discovery document is another issuer's"),
        (Manner::Discovery("jwks_uri", "http://id.example.org/keys".to_owned()), "its keys have no address that may be asked"),
        (Manner::Discovery("jwks_uri", "file:///etc/passwd".to_owned()), "its keys have no address that may be asked"),
        (Manner::Keys("<html>".to_owned()), "its key set is malformed"),
        (Manner::Keys(empty), "its key set holds no key that can be used"),
    ] {
        scene.provider.does(manner.clone());
        eventually(&format!("{manner:?}"), || async { said(&scene.app).await == why }).await;
        // What is known goes on.
        accepted(&scene.bearer(&json!({}))).await;
    }
    scene.provider.does(Manner::Well);
    eventually("it is well", || async { said(&scene.app).await.is_empty() }).await;
}

async fn roles_are_mapped_and_without_one_a_known_caller_is_refused(engine: Engine) {
    let change = |serve: &mut ServeOptions| serve.oidc_role_claim = Some("realm_access.roles".to_owned());
    let scene = Scene::start_with(engine, change, |_| ()).await;
    let with = |roles: Value| scene.bearer(&json!({"roles": null, "realm_access": {"roles": roles}}));
    let issue = json!({"type": "code", "secret": "one"});
    let (issuer, auditor, both) = (with(json!(["cr-issuer"])), with(json!("cr-auditor")), with(json!(["x", "cr-auditor", "cr-issuer"])));
    issuer.post("/v1/credentials", &issue).await.expect(201);
    issuer.get("/v1/logs/ledger/events").await.expect_problem(403, "forbidden");
    auditor.get("/v1/credentials").await.expect(200);
    auditor.post("/v1/credentials", &issue).await.expect_problem(403, "forbidden");
    both.get("/v1/credentials").await.expect(200);
    both.post("/v1/credentials", &json!({"type": "code", "secret": "two"})).await.expect(201);
    for none in [json!([]), json!(["x"]), json!(null)] {
        let known = with(none);
        for path in ["/v1/credentials", "/v1/me", "/v1/issuers"] {
            let refused = known.get(path).await.expect_problem(403, "forbidden");
            assert_eq!(refused.body["detail"], "the token has no role that means something here");
        }
        // Nor is it worth anything where nobody needs a token.
        known.post("/v1/verifications", &json!({"secret": "one"})).await.expect_problem(403, "forbidden");
    }
    // Where the roles do not stand, they do not count.
    scene.bearer(&json!({"roles": ["cr-admin"]})).get("/v1/credentials").await.expect_problem(403, "forbidden");
}

async fn two_organisations_do_not_see_each_other(engine: Engine) {
    let change = |serve: &mut ServeOptions| serve.oidc_organisation_claim = Some("org".to_owned());
    let scene = Scene::start_with(engine, change, |_| ()).await;
    for name in ["acme", "globex"] {
        scene.app.issuer_of(name).await;
    }
    let of = |organisation: Value| scene.bearer(&json!({"org": organisation, "sub": "the same"}));
    let (acme, globex) = (of(json!("acme")), of(json!("globex")));
    let issued = acme.post("/v1/credentials", &json!({"type": "code", "secret": "one"})).await.expect(201).body;
    assert_eq!(issued["issuer"], "acme");
    let path = format!("/v1/credentials/{}", issued["id"].as_str().unwrap());
    acme.get(&path).await.expect(200);
    globex.get(&path).await.expect_problem(404, "not-found");
    globex.post(&format!("{path}/revoke"), &json!({})).await.expect_problem(404, "not-found");
    eventually("the list has it", || async { acme.get("/v1/credentials").await.body["items"].as_array().unwrap().len() == 1 }).await;
    assert_eq!(globex.get("/v1/credentials").await.expect(200).body["items"], json!([]));
    for unknown in [json!("initech"), json!(null), json!(["acme"]), json!("")] {
        let answer = of(unknown).get("/v1/credentials").await.expect_problem(403, "forbidden");
        assert_eq!(answer.body["detail"], "the organisation is not known here");
    }
    // For one that is deactivated nobody acts.
    match engine {
        Engine::Sqlite => {
            let vault = rusqlite::Connection::open(scene.app.stores.folder.path().join("vault.sqlite")).unwrap();
            vault.busy_timeout(Duration::from_secs(5)).unwrap();
            vault.execute("update issuers set deactivated_at = 1 where name = 'acme'", []).unwrap();
        }
        Engine::Postgres => {
            let mut vault = sqlx::PgConnection::connect(&scene.app.stores.url()).await.unwrap();
            vault.execute("update vault.issuers set deactivated_at = 1 where name = 'acme'").await.unwrap();
        }
    }
    refused(&of(json!("acme")), "the organisation is deactivated").await;
    accepted(&globex).await;
}

async fn a_bearer_is_told_who_it_is_and_a_service_what_its_token_is_worth(engine: Engine) {
    let scene = Scene::start(engine).await;
    let claims = scene.provider.claims(&json!({"roles": ["cr-auditor", "cr-issuer"]}));
    let token = scene.key.sign(&claims);
    let bearer = scene.app.bearer(&token);
    let me = bearer.get("/v1/me").await.expect(200).body;
    assert_eq!(me, json!({"kind": "external", "id": me["id"], "roles": ["issuer", "auditor"], "issuer": "default", "account": null}));
    // It has no account here, and no session to end.
    bearer.get("/v1/me/sessions").await.expect_problem(403, "forbidden");
    let worth = async |token: &str| {
        let body = json!({"token": token});
        scene.app.operator().await.post("/v1/auth/introspect", &body).await.expect(200).body
    };
    let expected = json!({"active": true, "token_type": "external_token", "sub": me["id"], "role": "issuer auditor", "issuer": "default",
        "exp": claims["exp"].as_u64().unwrap() + 60});
    assert_eq!(worth(&token).await, expected);
    for nothing in [json!({"aud": "another"}), json!({"exp": 1})] {
        assert_eq!(worth(&scene.key.sign(&scene.provider.claims(&nothing))).await, json!({"active": false}));
    }
}

async fn no_log_tells_whom_the_provider_means(engine: Engine) {
    let scene = Scene::start(engine).await;
    let (ada, bob) = (scene.bearer(&json!({"sub": "ada@secret.example"})), scene.bearer(&json!({"sub": "bob@secret.example"})));
    for (number, bearer) in [&ada, &bob, &scene.bearer(&json!({"sub": "ada@secret.example"}))].into_iter().enumerate() {
        bearer.post("/v1/credentials", &json!({"type": "code", "secret": number.to_string()})).await.expect(201);
    }
    scene.bearer(&json!({"sub": "ada@secret.example", "roles": []})).get("/v1/credentials").await.expect_problem(403, "forbidden");
    let inspector = scene.app.inspector().await;
    let issued = inspector.get("/v1/logs/ledger/events?type=CredentialIssued").await.expect(200);
    let actors: Vec<&str> =
        issued.body["items"].as_array().unwrap().iter().map(|event| event["metadata"]["actor"].as_str().unwrap()).collect();
    let [first, second, third] = actors[..] else { panic!("{actors:?}") };
    assert_eq!((first, first.split_once('/').unwrap().0), (third, "external"));
    assert_ne!(first, second);
    eventually("the refusal is recorded", || async {
        let refusals = inspector.get("/v1/logs/audit/events?type=AccessRefused").await.expect(200);
        refusals.body["items"].as_array().unwrap().iter().any(|event| event["metadata"]["actor"] == first)
    })
    .await;
    for log in ["ledger", "audit"] {
        let events = inspector.get(&format!("/v1/logs/{log}/events?open=true&limit=1000")).await.expect(200).text;
        assert!(!events.contains("secret.example"), "{events}");
    }
}

#[tokio::test]
async fn half_a_provider_starts_nothing_and_names_what_is_missing() {
    let stores = Stores::new(Engine::Sqlite).await;
    let serve = |arguments: &[&str]| {
        let output = command(&["serve", "--listen", "127.0.0.1:0", "--store", &stores.url()]).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, told) = serve(&["--oidc-issuer", "https://id.example.org", "--oidc-audience", "credence"]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("--oidc-issuer: this needs CREDENCE_OIDC_ROLES, which is not given"), "{told}");
    let (status, told) = serve(&["--oidc-roles", "a=issuer"]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("--oidc-roles: this needs CREDENCE_OIDC_ISSUER, which is not given"), "{told}");
    assert!(!stores.folder.path().join("vault.sqlite").exists());
}

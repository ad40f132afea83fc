//! How much anybody may ask, over HTTP; and what is shared over a real Redis, while it is there and while it is not.

#![cfg(test)]

mod support;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use credence_api::config::{Config, ServeOptions, StoreOptions};
use credence_api::limits::redis::SCRIPT;
use credence_api::limits::{Limits, Quota};
use credence_ledger::testing::ManualClock;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};
use support::redis::{PASSWORD, Redis};
use support::{Anonymous, Answer, Child, Engine, Stores, TestApp, User, eventually, send};

engines!(
    an_address_may_ask_so_much_without_credentials_and_comes_back_when_told,
    a_key_is_limited_by_itself,
    the_address_that_a_trusted_proxy_names_is_limited_and_sealed_in_the_audit_log,
);

fn nobody() -> Value {
    json!({"id": uuid::Uuid::nil()})
}

async fn verify(user: &impl User) -> Answer {
    user.post("/v1/verifications", &nobody()).await
}

/// A verification that says it is asked for an address.
async fn verify_for(user: &impl User, forwarded: &str) -> Answer {
    send(user.request(Method::POST, "/v1/verifications").header("x-forwarded-for", forwarded).json(&nobody())).await
}

fn standing(answer: &Answer) -> (&str, &str, &str) {
    (answer.header("ratelimit-limit"), answer.header("ratelimit-remaining"), answer.header("ratelimit-reset"))
}

async fn an_address_may_ask_so_much_without_credentials_and_comes_back_when_told(engine: Engine) {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(engine).await.clock(clock.clone()).rate_limit("3/1h").start().await;
    for (remaining, reset) in [("2", "1200"), ("1", "2400"), ("0", "3600")] {
        let answer = verify(&app.anonymous()).await.expect(200);
        assert_eq!(standing(&answer), ("3", remaining, reset));
    }
    clock.advance(Duration::from_secs(60));
    let refused = verify(&app.anonymous()).await.expect_problem(429, "rate-limited");
    assert_eq!((standing(&refused), refused.header("retry-after")), (("3", "0", "1140"), "1140"));
    clock.advance(Duration::from_secs(1140));
    // Whether the read model is still fresh by this clock is another matter.
    assert_ne!(verify(&app.anonymous()).await.status, 429);
    verify(&app.anonymous()).await.expect(429);
}

async fn a_key_is_limited_by_itself(engine: Engine) {
    let limited = |config: &mut Config| config.rate_limits.authenticated = Some("2/1h".parse().unwrap());
    let app = TestApp::builder(engine).await.with(limited).start().await;
    let (inspector, other) = (app.inspector().await, app.inspector().await);
    assert_eq!(standing(&inspector.get("/v1/credentials").await.expect(200)), ("2", "1", "1800"));
    // Whatever it asks for.
    assert_eq!(standing(&verify(&inspector).await.expect(200)), ("2", "0", "3600"));
    let refused = inspector.get("/v1/credentials").await.expect_problem(429, "rate-limited");
    assert!((1..=1800).contains(&refused.header("retry-after").parse::<u64>().unwrap()));
    other.get("/v1/credentials").await.expect(200);
    verify(&app.anonymous()).await.expect(200);
}

async fn the_address_that_a_trusted_proxy_names_is_limited_and_sealed_in_the_audit_log(engine: Engine) {
    let trusting = |config: &mut Config| config.trusted_proxies = proxies("127.0.0.1, 10.0.0.0/8");
    let app = TestApp::builder(engine).await.with(trusting).rate_limit("1/1h").start().await;
    let anonymous = app.anonymous();
    let recorded = verify_for(&anonymous, "192.0.2.66, 203.0.113.7, 10.1.2.3").await.expect(200);
    verify_for(&anonymous, "203.0.113.7").await.expect(429);
    verify_for(&anonymous, "203.0.113.8").await.expect(200);
    // One customer's network.
    verify_for(&anonymous, "2001:db8:1:2::1").await.expect(200);
    verify_for(&anonymous, "2001:db8:1:2:ffff::1").await.expect(429);
    verify_for(&anonymous, "2001:db8:1:3::1").await.expect(200);
    let position = recorded.body["audit_position"].as_str().unwrap().strip_prefix("audit@").unwrap().to_owned();
    let events = app.inspector().await.get(&format!("/v1/logs/audit/events?open=true&limit=1&from={position}")).await.expect(200).body;
    assert_eq!(events["items"][0]["metadata"]["details"]["address"], "203.0.113.7");
}

fn proxies(text: &str) -> credence_api::config::TrustedProxies {
    let options = ServeOptions { trusted_proxies: Some(text.to_owned()), ..ServeOptions::default() };
    Config::read(&StoreOptions::default(), &options, std::iter::empty()).unwrap().0.trusted_proxies
}

#[tokio::test]
async fn what_an_untrusted_peer_says_of_its_address_is_ignored() {
    for trusted in ["", "192.0.2.0/24"] {
        let app = TestApp::builder(Engine::Sqlite)
            .await
            .with(|config| config.trusted_proxies = proxies(trusted))
            .rate_limit("1/1h")
            .start()
            .await;
        let recorded = verify_for(&app.anonymous(), "203.0.113.7").await.expect(200);
        verify_for(&app.anonymous(), "203.0.113.8").await.expect(429);
        let position = recorded.body["audit_position"].as_str().unwrap().strip_prefix("audit@").unwrap().to_owned();
        let events = app.inspector().await.get(&format!("/v1/logs/audit/events?open=true&limit=1&from={position}")).await.expect(200).body;
        assert_eq!(events["items"][0]["metadata"]["details"]["address"], "127.0.0.1");
    }
}

#[tokio::test]
async fn bad_credentials_count_against_the_address() {
    let app = TestApp::builder(Engine::Sqlite).await.rate_limit("2/1h").start().await;
    let guess = |key: &str| send(app.anonymous().request(Method::GET, "/v1/credentials").bearer_auth(key));
    let refused = guess("one").await.expect_problem(401, "unauthenticated");
    assert_eq!(standing(&refused), ("2", "1", "1800"));
    guess("two").await.expect(401);
    guess("three").await.expect_problem(429, "rate-limited");
    verify(&app.anonymous()).await.expect(429);
    // Who has a good key is not held up by who has none.
    app.inspector().await.get("/v1/credentials").await.expect(200);
}

#[tokio::test]
async fn from_an_address_past_its_limit_few_texts_that_were_never_good_are_looked_up() {
    let clock = Arc::new(ManualClock::default());
    let app = TestApp::builder(Engine::Sqlite).await.clock(clock.clone()).rate_limit("1/1h").start().await;
    let (seen, unseen) = (app.inspector().await, app.inspector().await);
    for _ in 0..3 {
        // It was counted as a bad one until it was looked up, and then no longer.
        seen.get("/v1/me").await.expect(200);
    }
    // On a path that is no route, too.
    for number in 0..30 {
        let guess = app.anonymous().request(Method::GET, "/nowhere").bearer_auth(format!("credence_{number:064}"));
        send(guess).await.expect(if number == 0 { 401 } else { 429 });
    }
    let refused = unseen.get("/v1/me").await.expect_problem(429, "rate-limited");
    assert_eq!(standing(&refused).0, "1");
    seen.get("/v1/me").await.expect(200);
    clock.advance(Duration::from_secs(1));
    unseen.get("/v1/me").await.expect(200);
    verify(&app.anonymous()).await.expect(429);
}

#[tokio::test]
async fn attempts_to_log_in_count_against_the_address_whatever_comes_of_them() {
    let app = TestApp::builder(Engine::Sqlite).await.rate_limit("2/1h").start().await;
    let body = json!({"identifier": "nobody@example.org", "password": "a wrong one"});
    for (path, remaining) in [("/v1/auth/login", "1"), ("/v1/auth/refresh", "0")] {
        let answer = app.anonymous().post(path, &body).await;
        assert!(answer.status.is_client_error() && answer.status != 429, "{}", answer.text);
        assert_eq!(answer.header("ratelimit-remaining"), remaining);
    }
    app.anonymous().post("/v1/auth/login", &body).await.expect_problem(429, "rate-limited");
    // What checks tokens elsewhere needs their keys all the time.
    app.anonymous().get("/.well-known/jwks.json").await.expect(200);
}

#[tokio::test]
async fn proofs_are_counted_and_what_they_are_made_of_is_not() {
    let app = TestApp::builder(Engine::Sqlite).await.rate_limit("2/1h").start().await;
    eventually("a checkpoint", || async { app.anonymous().get("/v1/logs/ledger/checkpoint").await.status == 200 }).await;
    for remaining in ["1", "0"] {
        let proof = app.anonymous().get("/v1/logs/ledger/proofs/inclusion?position=0").await.expect(200);
        assert_eq!(standing(&proof).1, remaining);
    }
    for proof in ["inclusion?position=0", "consistency?from=0"] {
        app.anonymous().get(&format!("/v1/logs/ledger/proofs/{proof}")).await.expect_problem(429, "rate-limited");
    }
    for path in ["checkpoint", "keys", "tile/0/000.p/1"] {
        assert_eq!(standing(&app.anonymous().get(&format!("/v1/logs/ledger/{path}")).await.expect(200)), ("", "", ""), "{path}");
    }
    app.inspector().await.get("/v1/logs/ledger/proofs/inclusion?position=0").await.expect(200);
}

#[tokio::test]
async fn health_metrics_and_documents_are_never_limited() {
    let app = TestApp::builder(Engine::Sqlite).await.rate_limit("1/1h").start().await;
    verify(&app.anonymous()).await.expect(200);
    verify(&app.anonymous()).await.expect(429);
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs/index.html", "/problems/rate-limited"] {
        let answer = app.anonymous().get(path).await.expect(200);
        assert_eq!(standing(&answer), ("", "", ""), "{path}");
    }
}

#[tokio::test]
async fn what_nobody_configured_is_limited_as_documented() {
    let stores = Arc::new(Stores::new(Engine::Sqlite).await);
    let (defaults, _) = Config::read(&StoreOptions::default(), &ServeOptions::default(), std::iter::empty()).unwrap();
    let app = TestApp::on(stores).with(|config| config.rate_limits = defaults.rate_limits).start().await;
    assert_eq!(standing(&verify(&app.anonymous()).await.expect(200)), ("600", "599", "1"));
    assert_eq!(standing(&app.inspector().await.get("/v1/credentials").await.expect(200)), ("6000", "5999", "1"));
    let limits = &app.services().limits;
    for _ in 0..5 {
        assert!(limits.begin_login([1; 32], None).await.is_ok());
    }
    let refused = limits.begin_login([1; 32], None).await.map(drop).unwrap_err();
    assert_eq!((refused.limit, refused.remaining), (5, 0));
    assert!((1..=180).contains(&refused.reset_s), "{refused:?}");
}

/// A hundred at once, of which so many are let through.
async fn at_once(limits: &Arc<Limits>, account: impl Fn(u8) -> [u8; 32], address: impl Fn(u8) -> IpAddr) -> usize {
    let attempts = (0..100).map(|n| {
        let (limits, account, address) = (limits.clone(), account(n), address(n));
        tokio::spawn(async move { limits.begin_login(account, Some(address)).await.is_ok() })
    });
    let attempts: Vec<_> = attempts.collect();
    let mut allowed = 0;
    for attempt in attempts {
        allowed += usize::from(attempt.await.unwrap());
    }
    allowed
}

fn address(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_logins_at_once_no_more_are_tried_than_may_fail() {
    let redis = Redis::start();
    for shared in [false, true] {
        let limited = |config: &mut Config| {
            config.rate_limits.login_failures = Some("5/15m".parse().unwrap());
            config.redis = shared.then(|| redis.url().parse().unwrap());
        };
        let app = TestApp::builder(Engine::Sqlite).await.with(limited).start().await;
        let limits = &app.services().limits;
        assert_eq!(at_once(limits, |_| [1; 32], address).await, 5, "one account, many addresses");
        assert_eq!(at_once(limits, |n| [n.max(2); 32], |_| address(200)).await, 5, "many accounts, one address");
        // Those that were refused for their account took nothing from their address.
        let free = at_once(limits, |n| [100 + n; 32], |n| address(n / 5)).await;
        assert!((100 - 5..=100).contains(&free), "{free}");
        assert_eq!(limits.trouble(), None);
    }
}

#[tokio::test]
async fn only_failed_logins_count() {
    let redis = Redis::start();
    for shared in [false, true] {
        let limited = |config: &mut Config| {
            config.rate_limits.login_failures = Some("2/15m".parse().unwrap());
            config.redis = shared.then(|| redis.url().parse().unwrap());
        };
        let app = TestApp::builder(Engine::Sqlite).await.with(limited).start().await;
        let limits = &app.services().limits;
        let begin = || limits.begin_login([7; 32], Some(address(7)));
        for _ in 0..10 {
            begin().await.unwrap().give_back().await;
        }
        assert!(begin().await.is_ok());
        begin().await.unwrap().give_back().await;
        assert!(begin().await.is_ok());
        assert!(begin().await.is_err());
    }
}

/// What readiness warns of, beside what every store on one server is warned of.
async fn warnings(anonymous: &Anonymous) -> Vec<Value> {
    let readiness = anonymous.get("/health/ready").await.expect(200).body;
    readiness["warnings"].as_array().unwrap().iter().filter(|warning| warning["name"] == "limits").cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_their_limits_while_redis_is_there_and_limit_alone_while_it_is_not() {
    let (mut redis, stores) = (Redis::start(), Stores::new(Engine::Sqlite).await);
    let arguments = ["--store", &stores.url(), "--rate-limit-public", "6/1h", "--redis-url", &redis.url()];
    let (one, other) = (Child::serve(stores.data_dir(), &arguments), Child::serve(stores.data_dir(), &arguments));
    for remaining in ["5", "3", "1"] {
        assert_eq!(verify(&one.anonymous()).await.expect(200).header("ratelimit-remaining"), remaining);
        verify(&other.anonymous()).await.expect(200);
    }
    for process in [&one, &other] {
        assert_eq!(standing(&verify(&process.anonymous()).await.expect_problem(429, "rate-limited")).1, "0");
        assert_eq!(warnings(&process.anonymous()).await, Vec::<Value>::new());
    }
    nothing_personal_is_in(&redis);

    redis.kill9();
    eventually("they warn", || async { warnings(&one.anonymous()).await.len() == 1 && warnings(&other.anonymous()).await.len() == 1 })
        .await;
    let readiness = one.anonymous().get("/health/ready").await.expect(200).body;
    assert_eq!(readiness["status"], "ready");
    // Each has counted three of six itself.
    for process in [&one, &other] {
        for remaining in ["2", "1", "0"] {
            assert_eq!(verify(&process.anonymous()).await.expect(200).header("ratelimit-remaining"), remaining);
        }
        verify(&process.anonymous()).await.expect(429);
    }

    redis.resume();
    eventually("no warning is left", || async {
        warnings(&one.anonymous()).await.is_empty() && warnings(&other.anonymous()).await.is_empty()
    })
    .await;
    verify(&one.anonymous()).await.expect(429);
    for process in [&one, &other] {
        let log = process.stderr();
        assert!(log.contains("Redis does not answer") && log.contains("Redis answers again"), "{log}");
        assert!(!log.contains(PASSWORD), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_by_tls_if_its_certificate_is_trusted() {
    let (redis, stores) = (Redis::start(), Stores::new(Engine::Sqlite).await);
    let certificate = redis.certificate().display().to_string();
    let arguments = ["--store", &stores.url(), "--rate-limit-public", "5/1h", "--redis-url", &redis.tls_url()];
    let trusting = Child::serve_in(stores.data_dir(), &arguments, &[("SSL_CERT_FILE", &certificate)]);
    eventually("it is reached", || async { warnings(&trusting.anonymous()).await.is_empty() }).await;
    verify(&trusting.anonymous()).await.expect(200);
    nothing_personal_is_in(&redis);
    let doubting = Child::serve(stores.data_dir(), &arguments);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(warnings(&doubting.anonymous()).await.len(), 1);
    assert_eq!(verify(&doubting.anonymous()).await.expect(200).header("ratelimit-remaining"), "4");
}

/// Neither address nor anything else in clear, and nothing that stays for ever.
fn nothing_personal_is_in(redis: &Redis) {
    let mut connection = redis.connect().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.starts_with("credence:limit:") && key.len() == "credence:limit:".len() + 32, "{key}");
        // A probe's is gone at once: -2.
        let expires_ms: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
        assert!(expires_ms == -2 || (0..=3_600_000).contains(&expires_ms), "{key}: {expires_ms}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_holds_nobody_up() {
    let redis = Redis::start();
    let hanging = |config: &mut Config| config.redis = Some(redis.url().parse().unwrap());
    let app = TestApp::builder(Engine::Sqlite).await.with(hanging).rate_limit("1000/1h").start().await;
    verify(&app.anonymous()).await.expect(200);
    redis.signal("STOP");
    let start = Instant::now();
    for _ in 0..50 {
        verify(&app.anonymous()).await.expect(200);
    }
    let took = start.elapsed();
    redis.signal("CONT");
    assert!(took < Duration::from_secs(3), "each waited: {took:?}");
    eventually("it is used again", || async { app.services().limits.trouble().is_none() }).await;
    let before = redis_count(&redis);
    verify(&app.anonymous()).await.expect(200);
    assert!(redis_count(&redis) > before);
}

/// How many commands it has processed.
fn redis_count(redis: &Redis) -> u64 {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connect().unwrap()).unwrap();
    let calls = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.unwrap().split(',').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_starts_without_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.kill9();
    let shared = |config: &mut Config| config.redis = Some(redis.url().parse().unwrap());
    let app = TestApp::builder(Engine::Sqlite).await.with(shared).rate_limit("5/1h").start().await;
    assert_eq!(warnings(&app.anonymous()).await.len(), 1);
    verify(&app.anonymous()).await.expect(200);
    redis.resume();
    eventually("no warning is left", || async { warnings(&app.anonymous()).await.is_empty() }).await;
}

/// What is done to a bucket, after some time.
#[derive(Debug, Clone, Copy)]
struct Act {
    after_us: u64,
    takes: bool,
    /// The first bucket, the second or both.
    which: (bool, bool),
}

/// By the arithmetic itself: the answer of the script, over several buckets.
fn by_arithmetic(buckets: &mut HashMap<&'static str, u64>, wanted: &[(&'static str, Quota)], now: u64, takes: bool) -> Vec<u64> {
    let held = |buckets: &HashMap<_, u64>, name| buckets.get(name).copied().unwrap_or(0);
    let refused = wanted.iter().position(|(name, quota)| takes && quota.take(held(buckets, name), now).is_none());
    if refused.is_none() {
        for (name, quota) in wanted {
            let full_at = held(buckets, name);
            let after = if takes { quota.take(full_at, now).unwrap() } else { quota.give_back(full_at, now) };
            buckets.insert(name, after);
        }
    }
    let lacks = wanted.iter().map(|(name, quota)| quota.lack_us(held(buckets, name), now));
    std::iter::once(refused.map_or(0, |place| place as u64 + 1)).chain(lacks).collect()
}

#[test]
fn redis_counts_exactly_as_a_process_does() {
    let redis = Redis::start();
    let connection = RefCell::new(redis.connect().unwrap());
    // The test owns the time: nothing else is changed.
    assert_eq!(SCRIPT.matches("redis.call('TIME')").count(), 1);
    let script = redis::Script::new(&SCRIPT.replace("redis.call('TIME')", "{ARGV[#ARGV - 1], ARGV[#ARGV]}"));
    let acts = || {
        let act = (0_u64..40_000_000, prop::bool::weighted(0.7), prop_oneof![Just((true, false)), Just((false, true)), Just((true, true))]);
        prop::collection::vec(act.prop_map(|(after_us, takes, which)| Act { after_us, takes, which }), 1..60)
    };
    // Long enough that nothing expires by the server's own time while the test runs.
    let quota = || (1_u32..8, 20_000_000_u64..60_000_000).prop_map(|(count, interval_us)| Quota { count, interval_us });
    let mut runner = TestRunner::new(Runs { cases: 200, failure_persistence: None, ..Runs::default() });
    let ran = runner.run(&(acts(), quota(), quota()), |(acts, first, second)| {
        let _: () = redis::cmd("FLUSHALL").query(&mut *connection.borrow_mut()).unwrap();
        let (mut buckets, mut now) = (HashMap::new(), 1_767_225_600_000_000);
        for act in acts {
            now += act.after_us;
            let both = [("first", first, act.which.0), ("second", second, act.which.1)];
            let wanted: Vec<(&'static str, Quota)> =
                both.into_iter().filter(|(.., is)| *is).map(|(name, quota, _)| (name, quota)).collect();
            let mut call = script.prepare_invoke();
            call.arg(if act.takes { "take" } else { "give_back" });
            for (name, quota) in &wanted {
                call.key(*name).arg(quota.interval_us).arg(quota.capacity_us());
            }
            call.arg(now / 1_000_000).arg(now % 1_000_000);
            let answer: Vec<u64> = call.invoke(&mut *connection.borrow_mut()).unwrap();
            prop_assert_eq!(answer, by_arithmetic(&mut buckets, &wanted, now, act.takes), "{:?}", act);
        }
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

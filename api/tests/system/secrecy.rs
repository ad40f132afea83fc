//! Nothing personal is kept in clear: not in a store, not in its write-ahead log, not in a log line, not in a metric.

use serde_json::json;

use crate::process::Start;
use crate::replayed;
use crate::search::{files, places_of};
use crate::store::Store;

const NAME: &str = "Žofie Quillfeather";
const EMAIL: &str = "zofie.quillfeather@example.org";
const CLAIM: &str = "grade-summa-cum-laude-7731";
const REASON: &str = "withdrawn-after-plagiarism-4412";
const SECRET: &str = "opaque-licence-string-9905";
const USER_AGENT: &str = "Quillbrowser/77.31";
/// Stands in clear in the log: the search must find it.
const CONTROL: &str = "control-certificate-type-1188";

async fn nothing_personal_is_found(store: Store, data: impl Fn(&Store) -> Vec<std::path::PathBuf>) {
    let server = Start::on(&store).variable("CREDENCE_LOG", "trace").start();
    let client = server.admin(&store);
    let agent: &[(&str, &str)] = &[("User-Agent", USER_AGENT)];
    let issued = client
        .try_post(
            "/v1/credentials",
            &json!({"type": CONTROL, "subject": {"name": NAME, "email": EMAIL}, "claims": {CLAIM: [CLAIM, {"in": CLAIM}]}}),
            agent,
        )
        .await
        .unwrap()
        .expect(201);
    let secret = client.try_post("/v1/credentials", &json!({"type": "secret", "secret": SECRET}), agent).await.unwrap().expect(201);
    let id = issued.id();
    client.try_post("/v1/verifications", &json!({"id": id, "subject": {"name": NAME, "email": EMAIL}}), agent).await.unwrap().expect(200);
    client.try_post("/v1/verifications", &json!({"document": issued.body["document"]}), agent).await.unwrap().expect(200);
    client.try_post("/v1/verifications", &json!({"secret": SECRET}), agent).await.unwrap().expect(200);
    client.try_post("/v1/credentials/search", &json!({"email": EMAIL, "name": NAME}), agent).await.unwrap().expect(200);
    client.get(&format!("/v1/credentials/{id}")).await.expect(200);
    for id in [id.clone(), secret.id()] {
        client.try_post(&format!("/v1/credentials/{id}/revoke"), &json!({"reason": REASON}), agent).await.unwrap().expect(200);
    }
    // Wrong input is not repeated in a log line either.
    client
        .try_post("/v1/credentials", &json!({"type": 7, "subject": {"name": NAME, "email": REASON}, SECRET: SECRET}), agent)
        .await
        .unwrap()
        .expect(422);
    client.get(&format!("/v1/logs/ledger/events?open=true&unknown={CLAIM}")).await.expect(422);
    client.get("/v1/logs/ledger/events?open=true").await.expect(200);
    crate::process::run_well(&store, &["rebuild"]);

    let metrics = server.anonymous().text("/metrics").await;
    let mut haystacks = Vec::new();
    for folder in data(&store) {
        files(&folder, &mut haystacks);
    }
    haystacks.push(("metrics".to_owned(), metrics.into_bytes()));
    haystacks.push(("log".to_owned(), server.log.lock().unwrap().clone().into_bytes()));
    assert!(haystacks.iter().any(|(name, bytes)| name == "log" && !bytes.is_empty()), "there is a log to search");
    assert!(!places_of(CONTROL, &haystacks).is_empty(), "the search finds what stands in clear");
    for text in [NAME, EMAIL, CLAIM, REASON, SECRET, USER_AGENT] {
        assert_eq!(places_of(text, &haystacks), Vec::<&str>::new(), "{text}");
    }
    assert_eq!(replayed::count(&replayed::ledger(&store), "CredentialRevoked"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_is_found_in_the_files_of_sqlite() {
    nothing_personal_is_found(Store::sqlite(), |store| vec![store.folder().to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_is_found_in_the_files_of_postgres() {
    let store = Store::private_postgres().await;
    let folder = store.server.as_ref().unwrap().data_folder().to_owned();
    nothing_personal_is_found(store, |store| vec![store.folder().to_owned(), folder.clone()]).await;
}

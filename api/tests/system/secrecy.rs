//! Nothing personal is kept in clear: not in a store, not in its write-ahead log, not in a log line, not in a metric.

use std::path::Path;

use serde_json::json;

use crate::process::Start;
use crate::replayed;
use crate::store::Store;

const NAME: &str = "Žofie Quillfeather";
const EMAIL: &str = "zofie.quillfeather@example.org";
const CLAIM: &str = "grade-summa-cum-laude-7731";
const REASON: &str = "withdrawn-after-plagiarism-4412";
const SECRET: &str = "opaque-licence-string-9905";
const USER_AGENT: &str = "Quillbrowser/77.31";
/// Stands in clear in the log: the search must find it.
const CONTROL: &str = "control-certificate-type-1188";

/// A text in the spellings in which it could lie in a file.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let json: String =
        text.chars().flat_map(|c| if c.is_ascii() { vec![c.to_string()] } else { vec![format!("\\u{:04x}", c as u32)] }).collect();
    let mut spellings = vec![text.as_bytes().to_vec(), json.clone().into_bytes(), json.to_uppercase().into_bytes()];
    spellings.push(hex::encode(text).into_bytes());
    spellings.push(hex::encode_upper(text).into_bytes());
    spellings.extend((0..3).map(|shift| base64_core(text.as_bytes(), shift)));
    spellings
}

/// The part of a base64 text that depends on `bytes` alone, when they begin `shift` bytes into a group of three. The alphabets
/// differ in two letters that stand for values 62 and 63; the samples above have none of them.
fn base64_core(bytes: &[u8], shift: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let letters = padded.chunks_exact(3).flat_map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|at| ALPHABET[(bits >> at & 63) as usize])
    });
    letters.skip(if shift == 0 { 0 } else { 4 }).collect()
}

pub(crate) fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

pub(crate) fn places_of<'a>(text: &str, haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    holding(&spellings(text), haystacks)
}

/// The same for bytes that are no text: as they are, and in hex.
pub(crate) fn places_of_bytes<'a>(bytes: &[u8], haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    let hex = [hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
    holding(&[&[bytes.to_vec()], &hex[..]].concat(), haystacks)
}

fn holding<'a>(needles: &[Vec<u8>], haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    let holds = |bytes: &[u8]| needles.iter().any(|needle| memchr::memmem::find(bytes, needle).is_some());
    haystacks.iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name.as_str()).collect()
}

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

#[test]
fn the_search_finds_every_spelling() {
    let hidden = [NAME.to_owned(), "\\u017dofie Quillfeather".to_owned(), hex::encode(NAME)];
    for text in hidden {
        let haystacks = [("file".to_owned(), format!("before{text}after").into_bytes())];
        assert_eq!(places_of(NAME, &haystacks).len(), 1, "{text}");
    }
    // "Žofie Quillfeather" in base64, at each of the three alignments.
    for text in ["xb1vZmllIFF1aWxsZmVhdGhlcg", "AMW9b2ZpZSBRdWlsbGZlYXRoZXI", "AADFvW9maWUgUXVpbGxmZWF0aGVy"] {
        let haystacks = [("file".to_owned(), text.as_bytes().to_vec())];
        assert_eq!(places_of(NAME, &haystacks).len(), 1, "{text}");
    }
}

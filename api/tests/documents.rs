//! The description of the interface: the committed document, the one served, the router and the code agree.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use credence_api::http::problem::Kind;
use credence_api::http::{self, docs};
use reqwest::Method;
use serde_json::Value;
use support::{Engine, TestApp, User, send};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())).cloned().collect();
        methods.into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_committed_document_is_the_one_generated() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == docs::json(), "docs/openapi.json differs from the code: cargo run --bin credence -- openapi > docs/openapi.json");
}

#[tokio::test]
async fn the_served_document_is_the_one_generated() {
    let app = TestApp::start(Engine::Sqlite).await;
    let served = app.anonymous().get("/openapi.json").await.expect(200);
    assert_eq!(served.header("content-type"), "application/json");
    assert!(served.text == docs::json());
    assert_eq!(served.body["openapi"], "3.1.0");
    assert_eq!(served.body["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_router_serves_every_operation_of_the_document_and_no_other_method() {
    let app = TestApp::start(Engine::Sqlite).await;
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    let operations = operations(&document);
    assert_eq!(http::table().len(), document["paths"].as_object().unwrap().len(), "a line of the table is one path");
    for path in document["paths"].as_object().unwrap().keys() {
        // What takes an id is asked for something that is not there.
        let real = path.replace("{id}", &uuid::Uuid::nil().to_string()).replace("{name}", "stale").replace("{file}", "index.html");
        let real = real.replace("{log}", "ledger");
        for method in METHODS {
            let request = app.anonymous().request(Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), &real);
            let answer = tokio::time::timeout(std::time::Duration::from_secs(5), send(request)).await.unwrap();
            let documented = operations.contains(&(path.clone(), method.to_owned()));
            assert_eq!(documented, answer.status != 405, "{method} {path}: {}", answer.status);
            assert_ne!(answer.body["type"], "/problems/not-served-by-this-role", "{method} {path}");
        }
    }
}

#[test]
fn every_operation_is_described_and_every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    let mut ids = BTreeSet::new();
    for (path, method) in operations(&document) {
        let operation = &document["paths"][&path][&method];
        assert!(operation["summary"].is_string() || operation["description"].is_string(), "{method} {path} says nothing");
        assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{method} {path} has no tag");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path} has another's operationId");
        let answers = operation["responses"].as_object().unwrap();
        assert!(!answers.is_empty(), "{method} {path} has no answers");
    }
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_route_but_those_for_everybody_is_documented_as_limited() {
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    for route in http::table() {
        let path = route.path().replace("{*", "{");
        for (_, method) in operations(&document).into_iter().filter(|(of, _)| *of == path) {
            let limited = document["paths"][&path][&method]["responses"].get("429").is_some();
            assert_eq!(limited, route.part != http::Part::Everywhere, "{method} {path}");
        }
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            members.values().for_each(|member| collect_references(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_pages_work_without_any_other_server() {
    let app = TestApp::start(Engine::Sqlite).await;
    let anonymous = app.anonymous();
    let to = anonymous.get("/docs").await.expect(303);
    let page = anonymous.get(to.header("location")).await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(page.text.contains(file), "{file}");
        let served = anonymous.get(&format!("/docs/{file}")).await.expect(200);
        assert!(!served.text.is_empty());
    }
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "{}", page.text);
    assert!(anonymous.get("/docs/swagger-initializer.js").await.text.contains("/openapi.json"));
    anonymous.get("/docs/nothing.js").await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn what_is_no_text_in_a_path_is_the_name_of_nothing() {
    let app = TestApp::start(Engine::Sqlite).await;
    let operator = app.operator().await;
    let mut asked = 0;
    for (path, method) in operations(&serde_json::from_str(docs::json()).unwrap()) {
        let Some((before, _)) = path.split_once('{') else { continue };
        // What is an account's own is nothing to a key.
        if path.starts_with("/v1/me/") {
            continue;
        }
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let rest = path[before.len()..].split('/').map(|part| if part.starts_with('{') { "%ff" } else { part });
        let real = format!("{before}{}", rest.collect::<Vec<_>>().join("/"));
        let request = operator.request(method.clone(), &real);
        // What has a body is told of the path first.
        let request = if method == Method::GET || method == Method::DELETE { request } else { request.json(&serde_json::json!({})) };
        let answer = send(request).await;
        assert_eq!(
            (answer.status.as_u16(), answer.body["type"].as_str()),
            (404, Some("/problems/not-found")),
            "{method} {real}: {}",
            answer.text
        );
        asked += 1;
    }
    assert!(asked > 20, "{asked}");
    for path in ["/v1/logs/ledger/tile/%ff", "/v1/projections/verification/rebuilds/%ff", "/v1/logs/ledger/tile/0/%ff"] {
        operator.get(path).await.expect_problem(404, "not-found");
    }
}

#[test]
fn the_older_dialects_list_what_every_one_of_their_routes_answers() {
    let document: Value = serde_json::from_str(docs::json()).unwrap();
    let mut routes = 0;
    for (path, method) in operations(&document) {
        let operation = &document["paths"][&path][&method];
        if operation["tags"] == serde_json::json!(["Older dialects"]) {
            for status in ["400", "408", "413", "415", "429", "500", "503"] {
                assert!(operation["responses"].get(status).is_some(), "{method} {path} does not tell of {status}");
            }
            routes += 1;
        }
    }
    assert_eq!(routes, 5);
}

#[tokio::test]
async fn every_problem_has_a_page() {
    let app = TestApp::start(Engine::Sqlite).await;
    let all = app.anonymous().get("/problems").await.expect(200);
    for kind in Kind::ALL {
        let page = app.anonymous().get(&format!("/problems/{}", kind.name)).await.expect(200);
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(page.text.contains(kind.title) && page.text.contains(kind.help), "{}", page.text);
        assert!(all.text.contains(kind.name));
    }
    app.anonymous().get("/problems/nonsense").await.expect_problem(404, "not-found");
}

#[test]
fn problems_have_names_and_statuses_of_their_own_kind() {
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        assert!(kind.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", kind.name);
        assert!(kind.status.is_client_error() || kind.status.is_server_error());
    }
}

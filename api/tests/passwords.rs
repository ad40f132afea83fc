//! Passwords in the configuration: no message and no log line shows them, however much is logged and whatever goes wrong.

#![cfg(test)]

mod support;

use std::time::Duration;

use credence_ledger::testing::postgres::Database;
use support::redis::{PASSWORD, Redis};
use support::{Child, User, command, eventually};
use tempfile::TempDir;

#[tokio::test]
async fn a_store_that_refuses_its_login_is_named_without_it() {
    let database = Database::create().await;
    let folder = TempDir::new().unwrap();
    // Nobody of that name, and no server at all.
    for (url, status) in
        [(database.url_as("nobody-of-theirs", "hunter2"), 3), ("postgres://me:hunter2@127.0.0.1:1/db?connect_timeout=1".to_owned(), 3)]
    {
        let (file, key) = (folder.path().join("url"), folder.path().join("master.key"));
        std::fs::write(&file, &url).unwrap();
        std::fs::write(&key, "00".repeat(32)).unwrap();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--log", "trace", "--store-file", &file.display().to_string()];
        let output = command(&arguments).args(["--master-key-file", &key.display().to_string()]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{told}");
        assert!(told.contains("vault (postgres://") && !told.contains("hunter2"), "{told}");
    }
}

#[tokio::test]
async fn a_redis_that_refuses_its_password_is_told_without_it() {
    let redis = Redis::start();
    let folder = TempDir::new().unwrap();
    let store = format!("sqlite:{}", folder.path().join("data").display());
    let file = folder.path().join("url");
    // A wrong one and the right one, both given in a file.
    for (url, warned) in [(redis.url().replace(PASSWORD, "hunter2-wrong"), 1), (redis.url(), 0)] {
        std::fs::write(&file, format!("{url}\n")).unwrap();
        let child = Child::serve(folder.path(), &["--store", &store, "--log", "trace", "--redis-url-file", &file.display().to_string()]);
        eventually("readiness tells", || async {
            let readiness = child.anonymous().get("/health/ready").await.expect(200);
            assert!(!readiness.text.contains("hunter2") && !readiness.text.contains("127.0.0.1"), "{}", readiness.text);
            readiness.body["warnings"].as_array().unwrap().iter().filter(|warning| warning["name"] == "limits").count() == warned
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let log = child.stderr();
        assert!(log.contains("DEBUG"), "there is much to search");
        assert!(!log.contains("hunter2"), "{}", log.lines().find(|line| line.contains("hunter2")).unwrap_or_default());
    }
}

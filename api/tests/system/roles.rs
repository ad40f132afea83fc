//! Each role's process runs under a login of that role alone, on PostgreSQL, and may do what it must and nothing else.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use crate::process::{Server, Start, run, run_well, until};
use crate::store::Store;

/// A login that is a member of one shipped role, as a URL.
async fn login(store: &Store, direct: &mut PgConnection, role: &str) -> String {
    let database: String = sqlx::query_scalar("select current_database()").fetch_one(&mut *direct).await.unwrap();
    let user = format!("{role}_of_{database}");
    let create = format!("create role \"{user}\" login password 'x' in role credence_{role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(direct).await.unwrap();
    store.url_as(&user, "x")
}

async fn start(store: &Store, direct: &mut PgConnection, role: &str) -> (Server, String) {
    let url = login(store, direct, role).await;
    (Start::on(store).role(role).variable("CREDENCE_STORE", &url).start(), url)
}

async fn denied(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let error = sqlx::raw_sql(statement).execute(&mut connection).await.expect_err(statement);
    let code = error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()));
    assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_runs_under_its_own_login() {
    let store = Store::postgres().await;
    let mut direct = PgConnection::connect(store.url()).await.unwrap();
    run_well(&store, &["migrate", "--roles"]);
    let (issuance, _) = start(&store, &mut direct, "issuance").await;
    let (projector, projector_url) = start(&store, &mut direct, "projector").await;
    let (verification, verification_url) = start(&store, &mut direct, "verification").await;

    let issued = issuance.admin(&store).issue(1).await.expect(201);
    let anonymous = verification.anonymous();
    until("it verifies", Duration::from_secs(20), async || {
        anonymous.verify_at_least(&issued.id(), issued.position()).await.body["valid"] == true
    })
    .await;
    // With a holder detail, which needs the vault's references.
    let detail = serde_json::json!({"id": issued.id(), "subject": {"email": "SUBJECT-1@example.org"}});
    assert_eq!(anonymous.post("/v1/verifications", &detail).await.expect(200).body["valid"], true);
    let revoked = issuance.admin(&store).act(&issued.id(), "revoke").await.expect(200);
    until("it is revoked", Duration::from_secs(20), async || {
        anonymous.verify_at_least(&issued.id(), revoked.position()).await.body["status"] == "revoked"
    })
    .await;
    let rebuilds = projector.admin(&store).post("/v1/projections/verification/rebuilds", &serde_json::json!({})).await;
    assert_eq!(rebuilds.status, 202, "{}", rebuilds.body);

    // What is proved is published by whoever may sign, and served by whoever verifies.
    until("a checkpoint covers it", Duration::from_secs(20), async || {
        let proved = anonymous.post("/v1/verifications", &serde_json::json!({"id": issued.id(), "proof": true})).await;
        proved.status == 200 && proved.body["proof"]["position"].is_string()
    })
    .await;
    assert!(anonymous.text("/v1/logs/ledger/keys").await.contains("/v1/logs/ledger+"));

    // Whoever issues also erases; the projector takes away what it folded, and verification answers what is left.
    let erased = issuance
        .admin(&store)
        .post("/v1/subjects/erasures", &serde_json::json!({"email": "subject-1@example.org", "reason": "asked"}))
        .await;
    assert_eq!(erased.expect(200).body["read_models"], "purged");
    let presented = anonymous.post("/v1/verifications", &serde_json::json!({"document": issued.body["document"]})).await;
    assert_eq!(presented.expect(200).body["status"], "erased");

    // Verification goes on while issuing is down.
    assert!(issuance.terminate().success());
    assert_eq!(anonymous.verify(&issued.id()).await.expect(200).body["status"], "not_found");

    for statement in [
        "select * from ledger.events",
        "select * from ledger.head",
        "select * from ledger.unique_keys",
        "select * from ledger.idempotency",
        "select wrapped_key from vault.subjects",
        "select wrapped_signing_key from vault.log_keys",
        "select * from vault.checkpoint_guard",
        "update ledger.tiles set hashes = ''",
        "insert into ledger.checkpoints values (0, 0, '')",
        "insert into audit.checkpoints values (0, 0, '')",
        "update audit.events set type = 'x'",
        "delete from audit.events",
    ] {
        denied(&verification_url, statement).await;
    }
    for statement in [
        "select * from vault.subjects",
        "insert into ledger.events default values",
        "delete from ledger.events",
        "insert into ledger.checkpoints values (0, 0, '')",
        "select wrapped_signing_key from vault.log_keys",
    ] {
        denied(&projector_url, statement).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_not_migrate_is_told_which_command_does() {
    let store = Store::postgres().await;
    let mut direct = PgConnection::connect(store.url()).await.unwrap();
    // Roles are the server's, not the database's: another database's migration makes them, too.
    run_well(&store, &["migrate", "--roles"]);
    sqlx::raw_sql("drop schema ledger cascade; drop schema audit cascade; drop schema vault cascade").execute(&mut direct).await.unwrap();
    let url = login(&store, &mut direct, "issuance").await;
    let refused = run(&store, &["serve", "--listen", "127.0.0.1:0", "--store", &url]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("credence migrate"), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tables_owner_cannot_change_an_event() {
    let store = Store::postgres().await;
    let server = Start::on(&store).start();
    server.admin(&store).issue(1).await.expect(201);
    let mut owner = PgConnection::connect(store.url()).await.unwrap();
    for statement in [
        "update ledger.events set type = 'x'",
        "delete from ledger.events",
        "truncate ledger.events",
        "update audit.events set type = 'x'",
        "delete from audit.events",
        "truncate audit.events",
    ] {
        let error = sqlx::raw_sql(statement).execute(&mut owner).await.expect_err(statement);
        assert!(error.as_database_error().is_some_and(|error| error.message().contains("never changed")), "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_sqlite_connection_cannot_change_an_event_or_leave_a_gap() {
    let store = Store::sqlite();
    let server = Start::on(&store).start();
    let client = server.admin(&store);
    for n in 0..3 {
        client.issue(n).await.expect(201);
    }
    let raw = rusqlite::Connection::open(store.folder().join("ledger.sqlite")).unwrap();
    let copy = |verb: &str, position: &str| {
        format!(
            "{verb} into events (position, stream, version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash)
             select {position}, stream || 'x', version, type, schema, recorded_at, metadata, payload, event_hash, chain_hash from events where position = 1"
        )
    };
    for statement in [
        "update events set type = 'x' where position = 1".to_owned(),
        "update or replace events set position = 2 where position = 1".to_owned(),
        "delete from events where position = 1".to_owned(),
        copy("insert or replace", "1"),
        copy("replace", "2"),
        copy("insert", "17"),
        copy("insert", "-1"),
    ] {
        let error = raw.execute_batch(&statement).expect_err(&statement);
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::ConstraintViolation), "{statement}: {error}");
    }
    drop(server);
    assert_eq!(crate::replayed::count(&crate::replayed::ledger(&store), "CredentialIssued"), 3);
}

//! A store for one test: a folder, or a database of its own on a real server.

use std::path::{Path, PathBuf};

use credence_ledger::testing::postgres::{Database, Server};

/// What the processes of one test share. Gone when dropped.
pub(crate) struct Store {
    /// Master key, administrator's key and, on SQLite, everything else.
    folder: tempfile::TempDir,
    url: String,
    database: Option<Database>,
    /// Set when the test has a server of its own, which it may kill.
    pub(crate) server: Option<Server>,
}

impl Store {
    /// Embedded.
    pub(crate) fn sqlite() -> Store {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().display());
        Store { folder, url, database: None, server: None }
    }

    /// A database on the server that all tests share.
    pub(crate) async fn postgres() -> Store {
        let database = Database::create().await;
        Store { url: database.url.clone(), database: Some(database), ..Store::with_key() }
    }

    /// A server of its own.
    pub(crate) async fn private_postgres() -> Store {
        Store::private_postgres_with(&[]).await
    }

    /// The same, with these settings.
    pub(crate) async fn private_postgres_with(settings: &[(&str, &str)]) -> Store {
        let server = Server::start_private_with(settings).await;
        Store { url: server.url("postgres"), server: Some(server), ..Store::with_key() }
    }

    fn with_key() -> Store {
        let store = Store::sqlite();
        std::fs::write(store.master_key(), format!("{}\n", "5a".repeat(32))).unwrap();
        store
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same database under another login.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        self.database.as_ref().expect("a database of its own").url_as(user, password)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    fn master_key(&self) -> PathBuf {
        self.folder().join("master.key")
    }

    /// The environment in which every process of this store runs.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("CREDENCE_STORE", self.url.clone()),
            ("CREDENCE_RATE_LIMIT", "off".to_owned()),
            ("CREDENCE_ORIGIN", "ledger.example".to_owned()),
        ];
        if !self.is_sqlite() {
            environment.push(("CREDENCE_DATA_DIR", self.folder().display().to_string()));
            environment.push(("CREDENCE_MASTER_KEY_FILE", self.master_key().display().to_string()));
        }
        environment
    }

    /// The key that the first start left in the data folder.
    pub(crate) fn admin_key(&self) -> String {
        std::fs::read_to_string(self.folder().join("admin.key")).expect("the first start writes admin.key").trim().to_owned()
    }
}

//! Hints that a log has grown, by `NOTIFY` and `LISTEN`, between processes. A hint may come late or not at all: whoever follows
//! the log polls besides.
//!
//! The announcements leave on a session of their own after the commit, so that they cost no append anything; while one is on
//! its way, those that follow become one.

use std::sync::OnceLock;
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::LogName;
use crate::causes;
use crate::store::postgres::{CONNECT_TIMEOUT, Sessions, bounded};

/// Between two announcements, so that a busy log does not make one of each commit.
const PAUSE: Duration = Duration::from_millis(5);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Both directions, each with a task that starts when it is first needed and ends with this value.
pub(super) struct Wakeups {
    sessions: Sessions,
    channel: String,
    grown: watch::Sender<u64>,
    heard: watch::Sender<u64>,
    announcer: OnceLock<AbortOnDropHandle<()>>,
    listener: OnceLock<AbortOnDropHandle<()>>,
}

impl Wakeups {
    pub(super) fn new(sessions: &Sessions, log: &LogName) -> Wakeups {
        Wakeups {
            // An announcement is a transaction for the server, whose loss is no loss.
            sessions: sessions.derived().with("synchronous_commit", "off"),
            channel: format!("credence_{log}"),
            grown: watch::Sender::new(0),
            heard: watch::Sender::new(0),
            announcer: OnceLock::new(),
            listener: OnceLock::new(),
        }
    }

    /// Says, here and elsewhere, that the log has `size` events.
    pub(super) fn announce(&self, size: u64) {
        self.grown.send_replace(size);
        self.heard.send_if_modified(|heard| raise(heard, size));
        self.announcer.get_or_init(|| {
            let announcing = announce(self.sessions.clone(), self.channel.clone(), self.grown.subscribe());
            AbortOnDropHandle::new(tokio::spawn(announcing))
        });
    }

    /// The largest size heard of.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.listener.get_or_init(|| {
            let listening = listen(self.sessions.clone(), self.channel.clone(), self.heard.clone());
            AbortOnDropHandle::new(tokio::spawn(listening))
        });
        self.heard.subscribe()
    }
}

fn raise(heard: &mut u64, size: u64) -> bool {
    let grown = size > *heard;
    *heard = size.max(*heard);
    grown
}

async fn announce(sessions: Sessions, channel: String, mut grown: watch::Receiver<u64>) {
    let mut connection = None;
    // The first size was sent before this task began to look.
    grown.mark_changed();
    while grown.changed().await.is_ok() {
        let size = grown.borrow_and_update().to_string();
        if connection.is_none() {
            connection = sessions.connect().await.ok();
        }
        let Some(session) = connection.as_mut() else { continue };
        let statement = sqlx::query(include_str!("../../../sql/postgres/log/notify.sql")).bind(&channel).bind(size);
        if bounded(statement.execute(session)).await.is_err() {
            connection = None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(sessions: Sessions, channel: String, heard: watch::Sender<u64>) {
    loop {
        if let Err(failed) = listen_once(&sessions, &channel, &heard).await {
            tracing::debug!(reason = causes(&failed), channel, "not listening; polling goes on");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Until the connection is lost.
async fn listen_once(sessions: &Sessions, channel: &str, heard: &watch::Sender<u64>) -> Result<(), sqlx::Error> {
    let pool = sessions.lazy_pool(1);
    let connecting = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    let mut listener = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
    while let Some(hint) = listener.try_recv().await? {
        if let Ok(size) = hint.payload().parse() {
            heard.send_if_modified(|heard| raise(heard, size));
        }
    }
    Ok(())
}

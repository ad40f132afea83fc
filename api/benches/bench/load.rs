//! The product under load, and what must be true of its answers.

use std::sync::Arc;

use crate::engine::Store;
use crate::generator::{self, Script, Target, Window};
use crate::product::{self, Server};
use crate::report::Run;
use crate::requests::{Awaited, Filling, Issuance, Issued, Verification};

/// A serving process with credentials to verify.
pub(crate) struct Load<'a> {
    store: &'a Store,
    with_key: Target,
    anonymous: Target,
    issued: Arc<[Issued]>,
    newest: Issued,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    Issue,
    Verify,
}

impl Ask {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Ask::Issue => "issue",
            Ask::Verify => "verify",
        }
    }
}

impl<'a> Load<'a> {
    /// Issues the credentials that will be verified, and revokes every tenth.
    pub(crate) async fn fill(store: &'a Store, server: &Server, credentials: u64, connections: usize) -> Load<'a> {
        let (_, scripts) = generator::through(&with_key(server), Filling::scripts(connections, credentials, true)).await;
        let issued: Arc<[Issued]> = scripts.into_iter().flat_map(|script| script.issued).collect();
        assert_eq!(issued.len() as u64, credentials);
        Load::on(store, server, issued)
    }

    /// Over credentials that are there already.
    pub(crate) fn on(store: &'a Store, server: &Server, issued: Arc<[Issued]>) -> Load<'a> {
        let newest = *issued.iter().max_by_key(|issued| issued.id).expect("there are some");
        Load { store, with_key: with_key(server), anonymous: Target::anonymous(&server.address), issued, newest }
    }

    /// Issues more, which nobody will verify.
    pub(crate) async fn add(&mut self, credentials: u64, connections: usize) {
        let (_, scripts) = generator::through(&self.with_key, Filling::scripts(connections, credentials, false)).await;
        self.newest = newest(self.newest, scripts.iter().filter_map(Filling::last));
    }

    /// One run, in a closed loop or at a rate.
    pub(crate) async fn run(&mut self, ask: Ask, connections: usize, window: Window, per_second: Option<f64>) -> Run {
        match ask {
            Ask::Issue => self.issue(connections, window, per_second).await,
            Ask::Verify => self.verify(connections, window, per_second).await,
        }
    }

    async fn issue(&mut self, connections: usize, window: Window, per_second: Option<f64>) -> Run {
        let (run, scripts) = drive(&self.with_key, Issuance::scripts(connections), window, per_second).await;
        self.newest = newest(self.newest, scripts.iter().filter_map(|script| script.last));
        run
    }

    /// No verdict is answered that is not on record, and none is recorded that was not answered.
    async fn verify(&mut self, connections: usize, window: Window, per_second: Option<f64>) -> Run {
        self.settle().await;
        let before = product::log_sizes(self.store).audit;
        let (run, scripts) = drive(&self.anonymous, Verification::scripts(connections, &self.issued), window, per_second).await;
        let answered: u64 = scripts.iter().map(|script| script.verdicts).sum();
        assert_eq!(product::log_sizes(self.store).audit - before, answered, "verdicts on record, and verdicts answered");
        run
    }

    /// Waits until the read model has all that was issued, so that catching up is not measured as something else.
    pub(crate) async fn settle(&self) {
        generator::through(&self.anonymous, vec![Awaited { credential: self.newest, is_known: false }]).await;
    }
}

fn with_key(server: &Server) -> Target {
    Target::with_key(&server.address, &server.key)
}

/// Ids are ordered by time.
fn newest(known: Issued, issued: impl Iterator<Item = Issued>) -> Issued {
    issued.chain([known]).max_by_key(|issued| issued.id).expect("there is one")
}

async fn drive<S: Script>(target: &Target, scripts: Vec<S>, window: Window, per_second: Option<f64>) -> (Run, Vec<S>) {
    match per_second {
        Some(per_second) => generator::open(target, scripts, window, per_second).await,
        None => generator::closed(target, scripts, window).await,
    }
}

//! Keys that the log says are gone: those that came back are named, those that are just going are not.

use std::time::Duration;

use super::remembered::vault;
use super::*;
use crate::event::audit::AuditDetailsShredded;
use crate::event::subject::SubjectErased;
use crate::vault::{Erasures as _, SubjectRefs, Vault as _};

fn memory(name: LogName) -> Memory {
    Memory::new(name.clone(), Origin::new("fsck.example", &name), Arc::new(ManualClock::at(noon())))
}

fn told(findings: Vec<Finding>) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_key_of_an_erasure_that_is_under_way_is_not_named_and_one_that_came_back_is() {
    let (folder, log, issuer) = (tempfile::tempdir().unwrap(), memory(LogName::LEDGER), id());
    let vault = vault(folder.path()).await;
    let refs = |name| SubjectRefs { issuer, name: vault.lookup().name(issuer, name), email: vault.lookup().email(issuer, "a@example.org") };
    let subjects = vault.subjects(&[refs("Ada"), refs("Bob"), refs("Cleo")], noon()).await.unwrap();
    let [ada, bob, cleo] = [0, 1, 2].map(|at: usize| subjects[at].id);
    vault.note_erasures(&[ada, bob], noon()).await.unwrap();
    let erase = |subject| {
        let erased = SubjectErased { keys: Vec::new(), order: id(), issuer, credentials: 0 };
        Append::to(Stream::subject(subject), Expected::None, vec![encode(&erased)])
    };
    log.commit(vec![erase(ada), erase(bob)]).await.unwrap();
    assert_eq!(told(erased(&log, Some(&vault)).await.unwrap()), Vec::<String>::new());

    // An hour later nobody seems to see to it.
    vault.note_erasures(&[cleo], noon().minus(Duration::from_secs(3600))).await.unwrap();
    log.commit(vec![erase(cleo)]).await.unwrap();
    let expected = format!("ledger@2 destroyed: the key subject/{cleo} exists, though it was destroyed");
    assert_eq!(told(erased(&log, Some(&vault)).await.unwrap()), [expected]);
    vault.forget_subjects(&[cleo]).await.unwrap();

    // Nor does anybody without a note.
    vault.settle_erasures(&[ada]).await.unwrap();
    let expected = format!("ledger@0 destroyed: the key subject/{ada} exists, though it was destroyed");
    assert_eq!(told(erased(&log, Some(&vault)).await.unwrap()), [expected]);
    vault.forget_subjects(&[ada]).await.unwrap();
    assert_eq!(told(erased(&log, Some(&vault)).await.unwrap()), Vec::<String>::new());
}

#[tokio::test]
async fn a_months_key_that_goes_while_it_is_looked_for_is_not_named() {
    let (folder, log) = (tempfile::tempdir().unwrap(), memory(LogName::AUDIT));
    let vault = vault(folder.path()).await;
    let month = "2026-01".to_owned();
    vault.month_key(&month).await.unwrap();
    let shredded = encode(&AuditDetailsShredded { months: vec![month.clone()] });
    log.commit(vec![Append::to(Stream::retention(), Expected::None, vec![shredded])]).await.unwrap();
    let going = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        vault.forget_months(&[month]).await.unwrap();
    };
    let (found, ()) = tokio::join!(keys_destroyed(&log, &vault), going);
    assert_eq!(told(found.unwrap()), Vec::<String>::new());
}

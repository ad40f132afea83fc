//! The contract suite: what every engine must keep, one sentence a test. [`vault_contract!`](crate::vault_contract) runs all of
//! it. A sentence gets a [`Fixture`]: a vault that is not there yet and can be opened several times, as several processes would.
#![expect(missing_docs, reason = "the names are the sentences")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests, compiled for other crates' tests too")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::accounts::{Change, NewAccount, Profile};
use super::api_key::{Terms, Wanted};
use super::erasures::Noted;
use super::issuers::{Organisation, ProfileChange};
use super::master_key::MasterKeys;
use super::master_key::ring::{Lacking, NotAtHand, Rotation, Stage};
use super::rotation::{self, Again};
use super::rows::{Keyring, NewIssuer};
use super::sessions::{NewSession, Refreshed};
use super::{
    Account, ApiKey, Issuer, IssuerKey, KeyState, MasterKey, MonthForgotten, OpenError, Reference, Role, Roles, Subject, SubjectRefs,
    Vault, Worker,
};
use crate::sealing::KeyId;
use crate::store::Error;
use crate::{LogName, Timestamp};

/// A vault that is not there yet.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// One more handle on it, as another process would open; the first one makes it.
    async fn open(&self, master_keys: MasterKeys, origin_base: Option<&str>) -> Result<Arc<dyn Vault>, OpenError>;

    /// Everything that is stored: the values of all rows one after the other, binary ones as they are.
    async fn stored(&self) -> Vec<u8>;
}

/// Makes a `#[tokio::test]` of every sentence. `$fresh` is an async function without arguments that makes a [`Fixture`].
#[macro_export]
macro_rules! vault_contract {
    ($fresh:path) => {
        $crate::vault_contract! { $fresh:
            a_vault_is_made_once_and_stays_what_it_was
            an_origin_that_is_not_given_is_drawn
            of_handles_that_open_at_once_exactly_one_makes_the_vault
            another_master_key_is_refused_and_nothing_changes
            an_open_vault_answers
            a_subject_is_made_once
            subjects_are_answered_in_the_order_asked
            subjects_differ_by_issuer_name_and_address
            handles_that_ask_for_subjects_at_once_agree
            many_subjects_are_made_in_one_call
            subjects_are_found_by_name_and_address
            a_subjects_references_can_be_read
            a_forgotten_subject_is_gone_and_its_person_another_one
            handles_that_ask_for_a_subject_while_it_is_forgotten_get_one
            an_erasure_is_noted_until_it_is_settled
            the_keys_that_exist_are_opened_and_the_others_left_out
            a_month_has_one_key_however_many_ask_at_once
            the_months_that_have_a_key_are_told_earliest_first
            a_month_that_was_forgotten_opens_nothing_and_never_gets_another_key
            nothing_of_a_forgotten_months_key_is_stored
            an_issuer_is_made_once_however_many_ask_at_once
            issuers_are_listed_oldest_first
            an_issuer_signs_with_its_first_key_until_it_uses_another
            a_retired_key_is_kept_and_never_comes_back
            an_issuer_has_one_next_key_however_many_ask_at_once
            rotations_at_once_leave_one_current_key
            organisations_are_listed_newest_first_page_by_page
            an_organisation_tells_of_itself_what_it_was_told_to
            what_belongs_to_an_organisation_holds_while_it_is_active
            keys_accounts_and_logins_know_their_organisation
            an_api_key_is_found_by_its_text_only
            api_keys_are_listed_oldest_first
            keys_are_selected_newest_first_by_organisation_and_prefix
            a_revoked_key_keeps_its_time_and_is_still_found
            a_keys_last_use_is_kept_to_the_minute_and_never_goes_back
            a_key_keeps_its_terms_and_expires_no_later_than_told
            an_account_is_nobodys_until_it_is_confirmed
            of_accounts_with_one_name_or_address_that_are_made_at_once_one_is_there
            accounts_are_listed_newest_first
            what_an_account_tells_can_be_changed_but_no_address_is_taken_twice
            a_changed_password_ends_the_other_sessions
            a_deactivated_account_has_no_session_and_can_be_activated
            no_session_is_begun_with_a_password_that_was_changed_meanwhile
            however_close_a_login_comes_to_a_changed_password_no_session_of_it_is_left
            a_refresh_token_is_used_once_however_many_try_at_once
            a_deactivated_organisations_refresh_token_is_not_used_up
            an_ended_session_is_not_refreshed
            sessions_that_are_over_are_forgotten_with_their_tokens
            access_tokens_are_signed_by_keys_that_come_and_go
            a_worker_lives_while_it_says_so
            workers_are_listed_by_name_and_start
            a_log_has_one_key_until_it_is_given_another
            handles_that_ask_for_a_logs_key_at_once_agree
            the_guard_moves_from_the_note_that_is_known_only
            one_process_at_a_time_goes_through_the_first_start
            one_process_at_a_time_rotates_the_master_key
            a_rotation_moves_from_the_one_that_is_known_only
            while_the_master_key_is_rotated_every_handle_opens_what_any_of_them_wraps
            a_handle_without_the_key_that_wraps_neither_opens_nor_wraps
            after_a_rotation_the_old_master_key_opens_nothing
            what_was_changed_or_destroyed_since_it_was_read_is_not_wrapped_anew
            nothing_secret_is_stored_in_clear
        }
    };
    ($fresh:path: $($sentence:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sentence() {
                $crate::vault::contract::$sentence(&$fresh().await).await;
            }
        )+
    };
}

const HANDLES: usize = 4;

fn master_key() -> MasterKeys {
    key(7).into()
}

fn key(digit: u8) -> MasterKey {
    MasterKey::from_bytes([digit; 32])
}

async fn open(fixture: &dyn Fixture) -> Arc<dyn Vault> {
    fixture.open(master_key(), Some("ledger.example/base")).await.unwrap()
}

async fn handles(fixture: &dyn Fixture) -> Vec<Arc<dyn Vault>> {
    let mut handles = Vec::new();
    for _ in 0..HANDLES {
        handles.push(open(fixture).await);
    }
    handles
}

/// 2026-01-01T00:00:00Z and so many seconds.
fn second(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_225_600_000_000 + seconds * 1_000_000)
}

fn issuer(at: u128) -> Uuid {
    Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0000 + at)
}

fn refs(vault: &dyn Vault, issuer: Uuid, name: &str, email: &str) -> SubjectRefs {
    SubjectRefs { issuer, name: vault.lookup().name(issuer, name), email: vault.lookup().email(issuer, email) }
}

fn numbered(vault: &dyn Vault, number: usize) -> SubjectRefs {
    refs(vault, issuer(1), &format!("Name {number}"), &format!("{number}@example.org"))
}

fn ids(subjects: &[Subject]) -> Vec<Uuid> {
    subjects.iter().map(|subject| subject.id).collect()
}

fn contains(stored: &[u8], needle: &[u8]) -> bool {
    stored.windows(needle.len()).any(|window| window == needle)
}

pub async fn a_vault_is_made_once_and_stays_what_it_was(fixture: &dyn Fixture) {
    let reference = |vault: &dyn Vault| vault.lookup().secret(b"a secret");
    let first = open(fixture).await;
    let second = fixture.open(master_key(), Some("elsewhere.example")).await.unwrap();
    let third = fixture.open(master_key(), None).await.unwrap();
    for vault in [&first, &second, &third] {
        assert_eq!(vault.origin_base(), "ledger.example/base");
        assert_eq!(reference(&**vault), reference(&*first));
    }
}

pub async fn an_origin_that_is_not_given_is_drawn(fixture: &dyn Fixture) {
    let first = fixture.open(master_key(), None).await.unwrap();
    let digits = first.origin_base().strip_prefix("localhost-").unwrap();
    assert!(digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digits}");
    assert_eq!(open(fixture).await.origin_base(), first.origin_base());
}

pub async fn of_handles_that_open_at_once_exactly_one_makes_the_vault(fixture: &dyn Fixture) {
    let origins: Vec<String> = (0..HANDLES).map(|handle| format!("{handle}.example")).collect();
    let opened = futures::future::join_all(origins.iter().map(|origin| fixture.open(master_key(), Some(origin)))).await;
    let told = |vault: &dyn Vault| (vault.origin_base().to_owned(), vault.lookup().secret(b"a secret"));
    let told: BTreeSet<(String, Reference)> = opened.into_iter().map(|vault| told(&*vault.unwrap())).collect();
    assert_eq!(told.len(), 1);
}

pub async fn another_master_key_is_refused_and_nothing_changes(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    vault.month_key("2026-01").await.unwrap();
    drop(vault);
    let before = fixture.stored().await;
    let refused = fixture.open(key(8).into(), Some("elsewhere.example")).await;
    assert!(matches!(refused.err(), Some(OpenError::WrongMasterKey)));
    assert!(fixture.stored().await == before, "the vault changed");
    open(fixture).await.month_key("2026-01").await.unwrap();
}

pub async fn an_open_vault_answers(fixture: &dyn Fixture) {
    open(fixture).await.ping().await.unwrap();
}

pub async fn a_subject_is_made_once(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = refs(&*vault, issuer(1), "Ada", "ada@example.org");
    let made = vault.subjects(&[ada], second(1)).await.unwrap().remove(0);
    assert_eq!(made.id.get_version_num(), 7);
    assert_eq!(made.id.get_timestamp().unwrap().to_unix().0, second(1).as_micros() / 1_000_000);
    let again = open(fixture).await.subjects(&[ada], second(99)).await.unwrap().remove(0);
    assert!(again.id == made.id && again.key == made.key);
}

pub async fn subjects_are_answered_in_the_order_asked(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let refs: Vec<SubjectRefs> = (0..6).map(|number| numbered(&*vault, number)).collect();
    let old = vault.subjects(&[refs[4], refs[1]], second(1)).await.unwrap();
    assert!(vault.subjects(&[], second(1)).await.unwrap().is_empty());
    // Old and new, one of each twice.
    let mixed = [refs[0], refs[1], refs[2], refs[4], refs[1], refs[0]];
    let answered = ids(&vault.subjects(&mixed, second(2)).await.unwrap());
    assert_eq!([answered[3], answered[1]].as_slice(), ids(&old));
    assert_eq!((answered[1], answered[0]), (answered[4], answered[5]));
    assert_eq!(answered.iter().collect::<BTreeSet<_>>().len(), 4);
    let reversed: Vec<SubjectRefs> = mixed.into_iter().rev().collect();
    let mut again = ids(&vault.subjects(&reversed, second(3)).await.unwrap());
    again.reverse();
    assert_eq!(again, answered);
}

pub async fn subjects_differ_by_issuer_name_and_address(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let subjects = [
        refs(&*vault, issuer(1), "Ada", "ada@example.org"),
        refs(&*vault, issuer(1), "Ada", "ada@other.example"),
        refs(&*vault, issuer(1), "Grace", "ada@example.org"),
        refs(&*vault, issuer(2), "Ada", "ada@example.org"),
    ];
    let made = vault.subjects(&subjects, second(1)).await.unwrap();
    assert_eq!(ids(&made).iter().collect::<BTreeSet<_>>().len(), 4);
    assert!(made.iter().skip(1).all(|subject| subject.key != made[0].key));
}

/// In different orders, so that engines that lock rows would lock each other out.
pub async fn handles_that_ask_for_subjects_at_once_agree(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    for round in 0..4 {
        let mut asked: Vec<Vec<SubjectRefs>> = Vec::new();
        for handle in 0..HANDLES {
            let mut refs: Vec<SubjectRefs> = (0..40).map(|number| numbered(&*handles[0], round * 100 + number)).collect();
            refs.rotate_left(handle * 7);
            if handle % 2 == 1 {
                refs.reverse();
            }
            asked.push(refs);
        }
        let answers = futures::future::join_all(handles.iter().zip(&asked).map(|(vault, refs)| vault.subjects(refs, second(1)))).await;
        let mut agreed: BTreeSet<(SubjectRefs, Uuid)> = BTreeSet::new();
        for (refs, answer) in asked.into_iter().zip(answers) {
            agreed.extend(refs.into_iter().zip(ids(&answer.unwrap())));
        }
        assert_eq!(agreed.len(), 40, "round {round}");
    }
}

pub async fn many_subjects_are_made_in_one_call(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let refs: Vec<SubjectRefs> = (0..2_000).map(|number| numbered(&*vault, number)).collect();
    let made = vault.subjects(&refs, second(1)).await.unwrap();
    assert_eq!(ids(&made).into_iter().collect::<BTreeSet<_>>().len(), 2_000);
    assert_eq!(ids(&vault.subjects(&refs, second(2)).await.unwrap()), ids(&made));
}

pub async fn subjects_are_found_by_name_and_address(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let [ada, ada_elsewhere, grace] = [
        refs(&*vault, issuer(1), "Ada", "ada@example.org"),
        refs(&*vault, issuer(1), "Ada", "ada@other.example"),
        refs(&*vault, issuer(1), "Grace", "ada@example.org"),
    ];
    let made = ids(&vault.subjects(&[ada, ada_elsewhere, grace], second(1)).await.unwrap());
    let find = async |name: Option<Reference>, email: Option<Reference>| {
        let found = vault.find_subjects(name.as_ref().map(std::slice::from_ref), email.as_ref().map(std::slice::from_ref)).await.unwrap();
        assert!(found.iter().all(|(_, of)| *of == issuer(1)));
        found.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>()
    };
    assert_eq!(find(Some(ada.name), None).await, BTreeSet::from([made[0], made[1]]));
    assert_eq!(find(None, Some(ada.email)).await, BTreeSet::from([made[0], made[2]]));
    assert_eq!(find(Some(grace.name), Some(grace.email)).await, BTreeSet::from([made[2]]));
    assert_eq!(find(Some(grace.name), Some(ada_elsewhere.email)).await, BTreeSet::new());
    assert_eq!(find(None, None).await, BTreeSet::new());
    let elsewhere = refs(&*vault, issuer(2), "Ada", "ada@example.org");
    assert_eq!(find(Some(elsewhere.name), None).await, BTreeSet::new());
    // At several issuers at once.
    let there = ids(&vault.subjects(&[elsewhere], second(1)).await.unwrap())[0];
    let (names, emails) = ([ada.name, elsewhere.name], [ada.email, elsewhere.email]);
    for (names, emails, wanted) in [
        (Some(&names[..]), Some(&emails[..]), vec![(made[0], issuer(1)), (there, issuer(2))]),
        (Some(&names[..]), None, vec![(made[0], issuer(1)), (made[1], issuer(1)), (there, issuer(2))]),
        (None, Some(&emails[..]), vec![(made[0], issuer(1)), (made[2], issuer(1)), (there, issuer(2))]),
        (Some(&[][..]), Some(&[][..]), vec![]),
    ] {
        let found = vault.find_subjects(names, emails).await.unwrap();
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted.into_iter().collect());
    }
}

pub async fn a_subjects_references_can_be_read(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = refs(&*vault, issuer(1), "Ada", "ada@example.org");
    let made = vault.subjects(&[ada], second(1)).await.unwrap().remove(0);
    assert_eq!(vault.subject_refs(&[issuer(9), made.id, issuer(9), made.id]).await.unwrap(), [None, Some(ada), None, Some(ada)]);
    assert_eq!(vault.subject_refs(&[]).await.unwrap(), []);
}

pub async fn a_forgotten_subject_is_gone_and_its_person_another_one(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let (ada, grace) = (numbered(&*vault, 1), numbered(&*vault, 2));
    let made = ids(&vault.subjects(&[ada, grace], second(1)).await.unwrap());
    assert_eq!(vault.forget_subjects(&[]).await.unwrap(), 0);
    assert_eq!(vault.forget_subjects(&[made[0], Uuid::from_u128(9)]).await.unwrap(), 1);
    assert_eq!(vault.forget_subjects(&made[..1]).await.unwrap(), 0);
    for vault in [vault, open(fixture).await] {
        let keys = [KeyId::Subject(made[0]), KeyId::Subject(made[1])];
        assert_eq!(vault.open_keys(&keys).await.unwrap().into_keys().collect::<Vec<_>>(), [KeyId::Subject(made[1])]);
        assert_eq!(vault.subject_refs(&made).await.unwrap(), [None, Some(grace)]);
        assert!(vault.find_subjects(Some(&[ada.name]), Some(&[ada.email])).await.unwrap().is_empty());
    }
    let again = ids(&open(fixture).await.subjects(&[ada, grace], second(2)).await.unwrap());
    assert_ne!(again[0], made[0]);
    assert_eq!(again[1], made[1]);
}

pub async fn handles_that_ask_for_a_subject_while_it_is_forgotten_get_one(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let other = open(fixture).await;
    let ada = numbered(&*vault, 1);
    for time in 0..30 {
        let known = vault.subjects(&[ada], second(time)).await.unwrap().remove(0).id;
        let (wanted, known) = ([ada], [known]);
        let (asked, forgotten) = tokio::join!(vault.subjects(&wanted, second(time)), other.forget_subjects(&known));
        assert_eq!((asked.unwrap().len(), forgotten.unwrap()), (1, 1));
    }
}

pub async fn an_erasure_is_noted_until_it_is_settled(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
    assert!(vault.noted_erasures().await.unwrap().is_empty());
    vault.note_erasures(&[], second(1)).await.unwrap();
    vault.note_erasures(&[three, one, one], second(1)).await.unwrap();
    vault.note_erasures(&[two, three], second(2)).await.unwrap();
    let noted = [(one, 1), (three, 1), (two, 2)].map(|(subject, at)| Noted { subject, noted_at: second(at) });
    assert_eq!(open(fixture).await.noted_erasures().await.unwrap(), noted);
    vault.settle_erasures(&[one, three, Uuid::from_u128(9)]).await.unwrap();
    assert_eq!(vault.noted_erasures().await.unwrap(), noted[2..]);
}

pub async fn the_keys_that_exist_are_opened_and_the_others_left_out(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let subject = vault.subjects(&[numbered(&*vault, 1)], second(1)).await.unwrap().remove(0);
    let month = vault.month_key("2026-01").await.unwrap();
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let sealing = vault.issuer_key(default.id).await.unwrap().unwrap();
    assert!(vault.issuer_key(subject.id).await.unwrap().is_none());
    let asked = [
        KeyId::Subject(subject.id),
        KeyId::Subject(default.id),
        KeyId::Issuer(default.id),
        KeyId::Issuer(subject.id),
        KeyId::Month("2026-01".to_owned()),
        KeyId::Month("2026-02".to_owned()),
        KeyId::Subject(subject.id),
    ];
    let opened = open(fixture).await.open_keys(&asked).await.unwrap();
    assert_eq!(opened.len(), 3);
    assert!(opened[&asked[0]] == subject.key && opened[&asked[2]] == sealing && opened[&asked[4]] == month);
    assert!(vault.open_keys(&[]).await.unwrap().is_empty());
}

pub async fn a_month_has_one_key_however_many_ask_at_once(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    for month in ["2026-01", "2026-02"] {
        let keys = futures::future::join_all(handles.iter().map(|vault| vault.month_key(month))).await;
        let keys: BTreeSet<[u8; 32]> = keys.into_iter().map(|key| *key.unwrap().expose()).collect();
        assert_eq!(keys.len(), 1, "{month}");
    }
    assert_ne!(handles[0].month_key("2026-01").await.unwrap(), handles[0].month_key("2026-02").await.unwrap());
}

pub async fn the_months_that_have_a_key_are_told_earliest_first(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    assert_eq!(vault.months().await.unwrap(), [""; 0]);
    for month in ["2026-02", "2025-12", "2026-01", "2026-02"] {
        vault.month_key(month).await.unwrap();
    }
    assert_eq!(open(fixture).await.months().await.unwrap(), ["2025-12", "2026-01", "2026-02"]);
}

pub async fn a_month_that_was_forgotten_opens_nothing_and_never_gets_another_key(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    let kept = handles[0].month_key("2026-02").await.unwrap();
    handles[0].month_key("2026-01").await.unwrap();
    // One that never had a key, too: a vault of a backup may not know that it had one.
    let months = ["2025-12".to_owned(), "2026-01".to_owned()];
    handles[0].forget_months(&months).await.unwrap();
    handles[1].forget_months(&months).await.unwrap();
    handles[1].forget_months(&[]).await.unwrap();
    for vault in &handles {
        for month in &months {
            let Err(Error::Failed(beneath)) = vault.month_key(month).await else { panic!("{month} has a key") };
            assert_eq!(beneath.downcast_ref(), Some(&MonthForgotten(month.clone())));
        }
        let asked = ["2025-12", "2026-01", "2026-02"].map(|month| KeyId::Month(month.to_owned()));
        let opened = vault.open_keys(&asked).await.unwrap();
        assert!(opened.len() == 1 && opened[&asked[2]] == kept);
        assert_eq!(vault.months().await.unwrap(), ["2026-02"]);
    }
}

pub async fn nothing_of_a_forgotten_months_key_is_stored(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let months = ["2025-12", "2026-01", "2026-02"].map(str::to_owned);
    for month in &months {
        vault.month_key(month).await.unwrap();
    }
    let before = fixture.stored().await;
    vault.forget_months(&months).await.unwrap();
    let after = fixture.stored().await;
    // A wrapped key is a nonce, the key and a tag.
    assert_eq!(before.len() - after.len(), months.len() * (24 + 32 + 16));
    assert!(months.iter().all(|month| contains(&after, month.as_bytes())), "the months themselves stay");
}

pub async fn an_issuer_is_made_once_however_many_ask_at_once(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    let issuers = futures::future::join_all(handles.iter().map(|vault| vault.ensure_issuer("default", second(1)))).await;
    let issuers: Vec<_> = issuers.into_iter().map(Result::unwrap).collect();
    assert!(issuers.iter().all(|issuer| *issuer == issuers[0]));
    assert!(issuers[0].name == "default" && issuers[0].did.starts_with("did:key:z6Mk") && issuers[0].id.get_version_num() == 7);
    let other = handles[1].ensure_issuer("Default", second(2)).await.unwrap();
    assert!(other.id != issuers[0].id && other.did != issuers[0].did);
    assert_eq!(handles[2].issuers().await.unwrap(), [issuers[0].clone(), other]);
}

pub async fn issuers_are_listed_oldest_first(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    assert!(vault.issuers().await.unwrap().is_empty());
    for (at, name) in ["zeta", "alpha", "größe 'quoted\"", "mid"].into_iter().enumerate() {
        vault.ensure_issuer(name, second(at as u64)).await.unwrap();
    }
    let names: Vec<String> = vault.issuers().await.unwrap().into_iter().map(|issuer| issuer.name).collect();
    assert_eq!(names, ["zeta", "alpha", "größe 'quoted\"", "mid"]);
}

fn states(keys: &[IssuerKey]) -> Vec<(&str, KeyState)> {
    keys.iter().map(|key| (key.did.as_str(), key.state)).collect()
}

pub async fn an_issuer_signs_with_its_first_key_until_it_uses_another(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    assert_eq!(states(&vault.issuer_keys(default.id).await.unwrap()), [(&*default.did, KeyState::Current)]);
    assert!(default.is_active);
    assert_eq!(vault.find_issuer("default").await.unwrap().as_ref(), Some(&default));
    assert_eq!(vault.find_issuer("Default").await.unwrap(), None);
    let first = vault.signing_key(&default.did).await.unwrap().unwrap();
    assert_eq!(first.did(), default.did);
    let next = vault.next_issuer_key(default.id).await.unwrap().unwrap();
    assert_eq!(vault.signing_key(&next).await.unwrap().unwrap().did(), next);
    // It is there, and nothing is issued under it yet.
    assert_eq!(vault.issuers().await.unwrap(), std::slice::from_ref(&default));
    let waiting = [(&*default.did, KeyState::Current), (&*next, KeyState::Pending)];
    assert_eq!(states(&vault.issuer_keys(default.id).await.unwrap()), waiting);
    vault.use_issuer_key(default.id, &next).await.unwrap();
    let elsewhere = open(fixture).await;
    assert_eq!(elsewhere.issuers().await.unwrap(), [Issuer { did: next.clone(), ..default.clone() }]);
    assert_eq!(elsewhere.ensure_issuer("default", second(2)).await.unwrap().did, next);
    let used = [(&*default.did, KeyState::Retired), (&*next, KeyState::Current)];
    assert_eq!(states(&elsewhere.issuer_keys(default.id).await.unwrap()), used);
    assert!(elsewhere.signing_key(&default.did).await.unwrap().unwrap().expose() == first.expose());
    assert!(vault.signing_key("did:key:z6Mk").await.unwrap().is_none());
    assert_eq!(vault.next_issuer_key(issuer(9)).await.unwrap(), None);
    assert_eq!(vault.issuer_keys(issuer(9)).await.unwrap(), []);
}

pub async fn a_retired_key_is_kept_and_never_comes_back(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let other = vault.ensure_issuer("other", second(2)).await.unwrap();
    let mut dids = vec![default.did.clone()];
    for _ in 0..3 {
        let next = vault.next_issuer_key(default.id).await.unwrap().unwrap();
        vault.use_issuer_key(default.id, &next).await.unwrap();
        dids.push(next);
    }
    let next = vault.next_issuer_key(other.id).await.unwrap().unwrap();
    // Retired ones, the current one, somebody else's, none at all.
    for did in [&dids[0], &dids[2], &dids[3], &next, &other.did, &"did:key:z6Mk".to_owned()] {
        vault.use_issuer_key(default.id, did).await.unwrap();
        assert_eq!(vault.issuers().await.unwrap()[0].did, dids[3], "{did}");
    }
    for did in &dids {
        assert_eq!(vault.signing_key(did).await.unwrap().unwrap().did(), *did);
    }
    assert_eq!(vault.issuers().await.unwrap()[1].did, other.did);
}

pub async fn an_issuer_has_one_next_key_however_many_ask_at_once(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    let default = handles[0].ensure_issuer("default", second(1)).await.unwrap();
    let next = futures::future::join_all(handles.iter().map(|vault| vault.next_issuer_key(default.id))).await;
    let next: BTreeSet<String> = next.into_iter().map(|did| did.unwrap().unwrap()).collect();
    assert_eq!(next.len(), 1);
    assert_eq!(handles[1].issuer_keys(default.id).await.unwrap().len(), 2);
}

pub async fn organisations_are_listed_newest_first_page_by_page(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let mut made = Vec::new();
    for (at, name) in ["one", "two", "three"].into_iter().enumerate() {
        let issuer = vault.ensure_issuer(name, second(at as u64)).await.unwrap();
        made.insert(0, Organisation { issuer, display_name: None, url: None, deactivated_at: None });
    }
    assert_eq!(vault.organisations(None, 10).await.unwrap(), made);
    assert_eq!(vault.organisations(None, 2).await.unwrap(), made[..2]);
    assert_eq!(vault.organisations(Some(made[1].issuer.id), 2).await.unwrap(), made[2..]);
    assert_eq!(vault.organisation(made[1].issuer.id).await.unwrap(), Some(made[1].clone()));
    assert_eq!(vault.organisation(issuer(9)).await.unwrap(), None);
}

pub async fn an_organisation_tells_of_itself_what_it_was_told_to(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let (default, other) =
        (vault.ensure_issuer("default", second(1)).await.unwrap(), vault.ensure_issuer("other", second(2)).await.unwrap());
    let (name, url) = ("größe \"quoted\"".to_owned(), "https://example.org/".to_owned());
    let both = ProfileChange { display_name: Some(Some(name.clone())), url: Some(Some(url.clone())) };
    assert!(vault.change_organisation(default.id, &both).await.unwrap());
    let told = async || {
        let found = vault.organisation(default.id).await.unwrap().unwrap();
        (found.display_name, found.url)
    };
    assert_eq!(told().await, (Some(name), Some(url.clone())));
    assert!(vault.change_organisation(default.id, &ProfileChange { display_name: Some(None), url: None }).await.unwrap());
    assert_eq!(told().await, (None, Some(url)));
    assert!(vault.change_organisation(default.id, &ProfileChange { display_name: None, url: Some(None) }).await.unwrap());
    assert_eq!(told().await, (None, None));
    assert_eq!(vault.organisation(other.id).await.unwrap().unwrap().display_name, None);
    assert!(!vault.change_organisation(issuer(9), &both).await.unwrap());
}

pub async fn what_belongs_to_an_organisation_holds_while_it_is_active(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let other = vault.ensure_issuer("other", second(1)).await.unwrap();
    let begun = session(&*vault, ada.id, 1, 2).await;
    let (own, text) = vault.create_key(&Terms::of(Role::Issuer, ada.issuer), second(2)).await.unwrap();
    let (others, _) = vault.create_key(&Terms::of(Role::Issuer, other.id), second(2)).await.unwrap();
    for at in [3, 4] {
        assert!(vault.deactivate_organisation(ada.issuer, Some(second(at))).await.unwrap());
        assert_eq!(vault.organisation(ada.issuer).await.unwrap().unwrap().deactivated_at, Some(second(3)));
    }
    let elsewhere = open(fixture).await;
    assert!(!elsewhere.find_key(&text).await.unwrap().unwrap().of_active);
    assert!(!elsewhere.session(begun).await.unwrap().unwrap().is_live(second(5)));
    assert!(!elsewhere.login_of(ada.id).await.unwrap().unwrap().of_active);
    assert!(elsewhere.key(others.id).await.unwrap().unwrap().of_active);
    assert!(vault.deactivate_organisation(ada.issuer, None).await.unwrap());
    assert!(elsewhere.key(own.id).await.unwrap().unwrap().of_active);
    assert!(elsewhere.session(begun).await.unwrap().unwrap().is_live(second(5)));
    assert_eq!(elsewhere.organisation(ada.issuer).await.unwrap().unwrap().deactivated_at, None);
    assert!(!vault.deactivate_organisation(issuer(9), None).await.unwrap());
}

pub async fn keys_accounts_and_logins_know_their_organisation(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let other = vault.ensure_issuer("other", second(1)).await.unwrap().id;
    let (key, _) = vault.create_key(&Terms::of(Role::Issuer, other), second(2)).await.unwrap();
    vault.revoke_key(key.id, second(3)).await.unwrap();
    let owners = vault.owners(&[key.id, issuer(9), ada.id, key.id]).await.unwrap();
    assert_eq!(owners, [(key.id, other), (ada.id, ada.issuer)].into());
    assert_eq!(vault.owners(&[]).await.unwrap(), [].into());
    let reference = |text: &str| vault.lookup().account(text);
    let given = ["ada", "nobody", "ada@example.org"].map(reference);
    let owners = vault.owners_of_logins(&given).await.unwrap();
    assert_eq!(owners, [(given[0], ada.issuer), (given[2], ada.issuer)].into());
}

pub async fn rotations_at_once_leave_one_current_key(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    let default = handles[0].ensure_issuer("default", second(1)).await.unwrap();
    let rotate = async |vault: &Arc<dyn Vault>| {
        let next = vault.next_issuer_key(default.id).await.unwrap().unwrap();
        vault.use_issuer_key(default.id, &next).await.unwrap();
    };
    futures::future::join_all(handles.iter().map(rotate)).await;
    let keys = handles[0].issuer_keys(default.id).await.unwrap();
    let (last, before) = keys.split_last().unwrap();
    assert!((1..=HANDLES).contains(&before.len()) && last.state == KeyState::Current, "{keys:?}");
    assert!(before.iter().all(|key| key.state == KeyState::Retired), "{keys:?}");
    assert_eq!(handles[0].issuers().await.unwrap()[0].did, last.did);
}

/// No sentence: what an engine's own test of an upgrade asks for.
pub async fn issuers_are_whole(vault: &dyn Vault, made: &[NewIssuer], ring: &Keyring) {
    let issuers: Vec<Issuer> = made.iter().map(|made| made.issuer.clone()).collect();
    let listed = vault.issuers().await.unwrap();
    assert!(listed.len() == issuers.len() && issuers.iter().all(|issuer| listed.contains(issuer)), "{listed:?}");
    for NewIssuer { issuer, wrapped_signing_key, wrapped_sealing_key } in made {
        let signing = ring.signing_key(issuer.id, &issuer.did, wrapped_signing_key).unwrap();
        assert!(vault.signing_key(&issuer.did).await.unwrap().unwrap().expose() == signing.expose());
        let sealing = ring.open(&KeyId::Issuer(issuer.id), wrapped_sealing_key).unwrap();
        assert!(vault.issuer_key(issuer.id).await.unwrap().unwrap() == sealing);
        assert_eq!(states(&vault.issuer_keys(issuer.id).await.unwrap()), [(&*issuer.did, KeyState::Current)]);
        let next = vault.next_issuer_key(issuer.id).await.unwrap().unwrap();
        vault.use_issuer_key(issuer.id, &next).await.unwrap();
        assert_eq!(vault.ensure_issuer(&issuer.name, second(1)).await.unwrap().did, next);
    }
}

pub async fn an_api_key_is_found_by_its_text_only(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let (key, text) = vault.create_key(&Terms::of(Role::Issuer, default.id).named("ci \"quoted\""), second(3)).await.unwrap();
    let (other, other_text) = vault.create_key(&Terms::of(Role::Admin, default.id), second(4)).await.unwrap();
    assert!(text.starts_with(&key.prefix) && text.len() > key.prefix.len() + 32);
    let expected = ApiKey {
        id: key.id,
        terms: Terms::of(Role::Issuer, default.id).named("ci \"quoted\""),
        of_active: true,
        prefix: key.prefix.clone(),
        created_at: second(3),
        last_used_at: None,
        revoked_at: None,
    };
    assert_eq!(key, expected);
    let elsewhere = open(fixture).await;
    assert_eq!(elsewhere.find_key(&text).await.unwrap(), Some(expected));
    assert_eq!(elsewhere.find_key(&other_text).await.unwrap(), Some(other));
    for wrong in ["", "credence_", &key.prefix, &format!("{}0", *text), &text.to_uppercase(), &"x".repeat(100_000)] {
        assert_eq!(vault.find_key(wrong).await.unwrap(), None);
    }
    let last = if text.ends_with('0') { "1" } else { "0" };
    assert_eq!(vault.find_key(&format!("{}{last}", &text[..text.len() - 1])).await.unwrap(), None);
}

pub async fn api_keys_are_listed_oldest_first(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    assert!(vault.keys().await.unwrap().is_empty());
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let mut made = Vec::new();
    for (at, role) in [Role::Admin, Role::Auditor, Role::Issuer].into_iter().enumerate() {
        made.push(vault.create_key(&Terms::of(role, default.id), second(at as u64)).await.unwrap().0);
    }
    assert_eq!(vault.keys().await.unwrap(), made);
}

pub async fn keys_are_selected_newest_first_by_organisation_and_prefix(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let all = Wanted { issuer: None, prefix: None, before: None, limit: 10 };
    assert!(vault.select_keys(&all).await.unwrap().is_empty());
    let (one, other) = (vault.ensure_issuer("one", second(1)).await.unwrap(), vault.ensure_issuer("other", second(1)).await.unwrap());
    let mut made = Vec::new();
    for (at, issuer) in [one.id, other.id, one.id, one.id].into_iter().enumerate() {
        made.push(vault.create_key(&Terms::of(Role::Issuer, issuer), second(at as u64)).await.unwrap().0);
    }
    made[3] = vault.revoke_key(made[3].id, second(9)).await.unwrap().unwrap();
    let newest_first = |places: &[usize]| places.iter().map(|at| made[*at].clone()).collect::<Vec<_>>();
    assert_eq!(vault.select_keys(&all).await.unwrap(), newest_first(&[3, 2, 1, 0]));
    let of_one = Wanted { issuer: Some(one.id), limit: 2, ..all.clone() };
    assert_eq!(vault.select_keys(&of_one).await.unwrap(), newest_first(&[3, 2]));
    assert_eq!(vault.select_keys(&Wanted { before: Some(made[2].id), ..of_one }).await.unwrap(), newest_first(&[0]));
    for (prefix, found) in
        [(made[1].prefix.as_str(), &[1][..]), ("credence_", &[3, 2, 1, 0]), ("credence", &[3, 2, 1, 0]), ("%", &[]), ("x", &[])]
    {
        let wanted = Wanted { prefix: Some(prefix.to_owned()), ..all.clone() };
        assert_eq!(vault.select_keys(&wanted).await.unwrap(), newest_first(found), "{prefix}");
    }
    let elsewhere = Wanted { issuer: Some(one.id), prefix: Some(made[1].prefix.clone()), ..all };
    assert!(vault.select_keys(&elsewhere).await.unwrap().is_empty());
}

pub async fn a_revoked_key_keeps_its_time_and_is_still_found(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let (key, text) = vault.create_key(&Terms::of(Role::Issuer, default.id), second(1)).await.unwrap();
    let revoked = ApiKey { revoked_at: Some(second(5)), ..key };
    assert_eq!(vault.revoke_key(revoked.id, second(5)).await.unwrap(), Some(revoked.clone()));
    assert_eq!(open(fixture).await.revoke_key(revoked.id, second(6)).await.unwrap(), Some(revoked.clone()));
    assert_eq!(vault.find_key(&text).await.unwrap(), Some(revoked));
    assert_eq!(vault.revoke_key(issuer(9), second(6)).await.unwrap(), None);
}

pub async fn a_keys_last_use_is_kept_to_the_minute_and_never_goes_back(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let (one, _) = vault.create_key(&Terms::of(Role::Issuer, default.id), second(1)).await.unwrap();
    let (two, _) = vault.create_key(&Terms::of(Role::Issuer, default.id), second(2)).await.unwrap();
    let used = async || vault.keys().await.unwrap().into_iter().map(|key| key.last_used_at).collect::<Vec<_>>();
    vault.touch_keys(&[]).await.unwrap();
    vault.touch_keys(&[(one.id, second(130)), (issuer(9), second(130))]).await.unwrap();
    assert_eq!(used().await, [Some(second(120)), None]);
    open(fixture).await.touch_keys(&[(one.id, second(59)), (two.id, second(61)), (two.id, second(10))]).await.unwrap();
    assert_eq!(used().await, [Some(second(120)), Some(second(60))]);
}

pub async fn a_key_keeps_its_terms_and_expires_no_later_than_told(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let terms = Terms {
        roles: Roles::of(&[Role::Issuer, Role::Auditor]),
        types: Some(["degree \"B.Sc.\"".to_owned(), "badge".to_owned()].into()),
        expires_at: Some(second(100)),
        ..Terms::of(Role::Issuer, default.id).named("ci")
    };
    let (key, text) = vault.create_key(&terms, second(1)).await.unwrap();
    assert_eq!(key.terms, terms);
    assert_eq!(open(fixture).await.find_key(&text).await.unwrap(), Some(key.clone()));
    assert_eq!(key.check(second(99)), Ok(()));
    assert!(key.check(second(100)).is_err());
    for (at, expected) in [(50, 50), (70, 50), (20, 20)] {
        let expired = vault.expire_key(key.id, second(at)).await.unwrap().unwrap();
        assert_eq!(expired.terms.expires_at, Some(second(expected)));
        assert_eq!(vault.key(key.id).await.unwrap(), Some(expired));
    }
    let (other, _) = vault.create_key(&Terms::of(Role::Issuer, default.id), second(2)).await.unwrap();
    assert_eq!(vault.expire_key(other.id, second(9)).await.unwrap().unwrap().terms.expires_at, Some(second(9)));
    assert_eq!(vault.expire_key(issuer(9), second(9)).await.unwrap(), None);
}

/// An account of `username` at `default`, made at `at`.
async fn new_account(vault: &dyn Vault, username: &str, at: u64) -> NewAccount {
    let issuer = vault.ensure_issuer("default", second(0)).await.unwrap().id;
    let email = format!("{username}@example.org");
    let account = Account {
        id: crate::random::uuid_v7(second(at), &crate::random::SystemRandom),
        issuer,
        roles: Role::Member.into(),
        profile: Profile { username: username.to_owned(), email: email.clone(), first_name: Some("Ada".to_owned()), last_name: None },
        created_at: second(at),
        deactivated_at: None,
    };
    NewAccount {
        account,
        username: vault.lookup().account(username),
        email: vault.lookup().account(&email),
        password: format!("a hash of {username}'s").into(),
    }
}

async fn account(vault: &dyn Vault, username: &str, at: u64) -> Account {
    let new = new_account(vault, username, at).await;
    assert!(vault.insert_account(&new, second(0)).await.unwrap());
    assert!(vault.confirm_account(new.account.id).await.unwrap());
    new.account
}

async fn session(vault: &dyn Vault, account: Uuid, number: u8, at: u64) -> Uuid {
    let id = crate::random::uuid_v7(second(at), &crate::random::SystemRandom);
    let agent = (number == 1).then(|| "a browser".to_owned());
    let checked = vault.login_of(account).await.unwrap().unwrap().stored;
    let new = NewSession { id, account, checked, agent, token: [number; 32], created_at: second(at), expires_at: second(1000) };
    assert!(vault.insert_session(&new).await.unwrap());
    id
}

pub async fn an_account_is_nobodys_until_it_is_confirmed(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let new = new_account(&*vault, "ada", 10).await;
    assert!(vault.insert_account(&new, second(0)).await.unwrap());
    let id = new.account.id;
    assert_eq!(vault.account(id).await.unwrap(), None);
    assert!(vault.find_login(new.username).await.unwrap().is_none() && vault.accounts(None, None, 10).await.unwrap().is_empty());
    // It is in the way for a while, and then makes way.
    let again = new_account(&*vault, "ada", 11).await;
    assert!(!vault.insert_account(&again, second(10)).await.unwrap());
    assert!(vault.insert_account(&again, second(11)).await.unwrap());
    assert!(!vault.confirm_account(id).await.unwrap());
    vault.withdraw_account(again.account.id).await.unwrap();
    assert!(vault.insert_account(&again, second(0)).await.unwrap());
    assert!(vault.confirm_account(again.account.id).await.unwrap());
    vault.withdraw_account(again.account.id).await.unwrap();
    let elsewhere = open(fixture).await;
    assert_eq!(elsewhere.account(again.account.id).await.unwrap(), Some(again.account.clone()));
    for identifier in [again.username, again.email] {
        let login = elsewhere.find_login(identifier).await.unwrap().unwrap();
        assert_eq!((&login.account, login.password.as_str(), login.of_active), (&again.account, "a hash of ada's", true));
    }
    assert_eq!(elsewhere.login_of(again.account.id).await.unwrap().unwrap().account, again.account);
    // What is confirmed never makes way.
    assert!(!vault.insert_account(&new_account(&*vault, "ada", 12).await, second(100)).await.unwrap());
}

pub async fn of_accounts_with_one_name_or_address_that_are_made_at_once_one_is_there(fixture: &dyn Fixture) {
    let vaults = handles(fixture).await;
    let (mut waiting, mut ids) = (Vec::new(), Vec::new());
    for (at, vault) in vaults.iter().enumerate() {
        let mut new = new_account(&**vault, "ada", 1).await;
        if at % 2 == 1 {
            new.username = vault.lookup().account("another");
        }
        ids.push(new.account.id);
        waiting.push(async move { vault.insert_account(&new, second(0)).await.unwrap() });
    }
    let made = futures::future::join_all(waiting).await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    for id in ids {
        vaults[0].confirm_account(id).await.unwrap();
    }
    assert_eq!(vaults[0].accounts(None, None, 10).await.unwrap().len(), 1);
}

pub async fn accounts_are_listed_newest_first(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let other = vault.ensure_issuer("other", second(0)).await.unwrap().id;
    let (one, two) = (account(&*vault, "one", 1).await, account(&*vault, "two", 2).await);
    let mut new = new_account(&*vault, "three", 3).await;
    new.account.issuer = other;
    assert!(vault.insert_account(&new, second(0)).await.unwrap());
    vault.confirm_account(new.account.id).await.unwrap();
    let three = new.account;
    assert_eq!(vault.accounts(None, None, 2).await.unwrap(), [three.clone(), two.clone()]);
    assert_eq!(vault.accounts(None, Some(two.id), 2).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(vault.accounts(Some(one.issuer), None, 10).await.unwrap(), [two, one]);
    assert_eq!(vault.accounts(Some(other), None, 10).await.unwrap(), [three]);
}

pub async fn what_an_account_tells_can_be_changed_but_no_address_is_taken_twice(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let (ada, bob) = (account(&*vault, "ada", 1).await, account(&*vault, "bob", 2).await);
    let email = |email: &str| vault.lookup().account(email);
    let changed = Profile { email: "lovelace@example.org".to_owned(), last_name: Some("Lovelace".to_owned()), ..ada.profile.clone() };
    assert_eq!(vault.set_profile(ada.id, &ada.profile, &changed, email("bob@example.org")).await.unwrap(), Change::Taken);
    assert_eq!(vault.account(ada.id).await.unwrap().unwrap().profile, ada.profile);
    let set = async |decided| vault.set_profile(ada.id, decided, &changed, email("lovelace@example.org")).await.unwrap();
    assert_eq!(set(&ada.profile).await, Change::Done);
    // Another one by now.
    assert_eq!(set(&ada.profile).await, Change::Stale);
    assert_eq!(set(&changed).await, Change::Done);
    assert_eq!(vault.find_login(email("lovelace@example.org")).await.unwrap().unwrap().account.profile, changed);
    assert!(vault.find_login(email("ada@example.org")).await.unwrap().is_none());
    assert_eq!(vault.set_profile(issuer(9), &changed, &changed, email("nobody@example.org")).await.unwrap(), Change::Missing);
    let roles = Roles::of(&[Role::Issuer, Role::Billing]);
    assert!(vault.set_roles(bob.id, bob.roles, roles).await.unwrap());
    // It has others by now.
    assert!(!vault.set_roles(bob.id, bob.roles, Roles::of(&[Role::Member, Role::Admin])).await.unwrap());
    assert_eq!(vault.account(bob.id).await.unwrap().unwrap().roles.to_string(), "issuer billing");
    assert!(!vault.set_roles(issuer(9), Roles::NONE, Roles::NONE).await.unwrap());
}

pub async fn a_changed_password_ends_the_other_sessions(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let (ada, bob) = (account(&*vault, "ada", 1).await, account(&*vault, "bob", 1).await);
    let (kept, ended, others) =
        (session(&*vault, ada.id, 1, 2).await, session(&*vault, ada.id, 2, 3).await, session(&*vault, bob.id, 3, 3).await);
    let seen = vault.sessions(ada.id, second(4)).await.unwrap();
    assert_eq!(seen.iter().map(|seen| seen.id).collect::<Vec<_>>(), [ended, kept]);
    assert_eq!(seen.iter().map(|seen| seen.agent.as_deref()).collect::<Vec<_>>(), [None, Some("a browser")]);
    let before = vault.find_login(vault.lookup().account("ada")).await.unwrap().unwrap();
    vault.rehash_password(ada.id, &before.stored, "another hash").await.unwrap();
    // It is not what it was: another was quicker.
    vault.rehash_password(ada.id, &before.stored, "a third hash").await.unwrap();
    assert_eq!(vault.login_of(ada.id).await.unwrap().unwrap().password.as_str(), "another hash");
    let stored = async || vault.login_of(ada.id).await.unwrap().unwrap().stored;
    // Whoever checked what it was, or whose session is another's or over, changes nothing and ends nothing.
    assert!(!vault.set_password(ada.id, &before.stored, "a new one's hash", Some(kept), second(5)).await.unwrap());
    assert!(!vault.set_password(ada.id, &stored().await, "a new one's hash", Some(others), second(5)).await.unwrap());
    assert!(!vault.set_password(ada.id, &stored().await, "a new one's hash", Some(kept), second(1000)).await.unwrap());
    assert_eq!(vault.sessions(ada.id, second(5)).await.unwrap().len(), 2);
    assert!(vault.set_password(ada.id, &stored().await, "a new one's hash", Some(kept), second(5)).await.unwrap());
    assert!(!vault.set_password(ada.id, &stored().await, "another one's hash", Some(ended), second(6)).await.unwrap());
    assert_eq!(vault.login_of(ada.id).await.unwrap().unwrap().password.as_str(), "a new one's hash");
    let elsewhere = open(fixture).await;
    assert!(elsewhere.session(kept).await.unwrap().unwrap().is_live(second(6)));
    assert!(elsewhere.session(others).await.unwrap().unwrap().is_live(second(6)));
    assert_eq!(elsewhere.session(ended).await.unwrap().unwrap().ended_at, Some(second(5)));
    assert!(vault.set_password(ada.id, &stored().await, "one more", None, second(7)).await.unwrap());
    assert!(vault.sessions(ada.id, second(8)).await.unwrap().is_empty());
    assert!(!vault.set_password(issuer(9), &stored().await, "nobody's", None, second(7)).await.unwrap());
}

pub async fn a_deactivated_account_has_no_session_and_can_be_activated(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let begun = session(&*vault, ada.id, 1, 2).await;
    for at in [3, 4] {
        assert!(vault.set_active(ada.id, false, second(at)).await.unwrap());
        assert_eq!(vault.account(ada.id).await.unwrap().unwrap().deactivated_at, Some(second(3)));
    }
    let session = vault.session(begun).await.unwrap().unwrap();
    assert_eq!((session.ended_at, session.of_active), (Some(second(3)), false));
    assert!(vault.set_active(ada.id, true, second(5)).await.unwrap());
    assert_eq!(vault.account(ada.id).await.unwrap(), Some(ada));
    assert!(!vault.session(begun).await.unwrap().unwrap().is_live(second(6)));
    assert!(!vault.set_active(issuer(9), false, second(5)).await.unwrap());
}

pub async fn no_session_is_begun_with_a_password_that_was_changed_meanwhile(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let begin = async |checked: Vec<u8>, number: u8| {
        let id = crate::random::uuid_v7(second(2), &crate::random::SystemRandom);
        let new =
            NewSession { id, account: ada.id, checked, agent: None, token: [number; 32], created_at: second(2), expires_at: second(1000) };
        vault.insert_session(&new).await.unwrap()
    };
    let stored = async || vault.login_of(ada.id).await.unwrap().unwrap().stored;
    let before = stored().await;
    assert!(begin(before.clone(), 1).await);
    assert!(vault.set_password(ada.id, &before, "another hash", None, second(3)).await.unwrap());
    assert!(!begin(before, 2).await);
    assert!(begin(stored().await, 3).await);
    assert!(vault.set_active(ada.id, false, second(4)).await.unwrap());
    assert!(!begin(stored().await, 4).await);
    assert!(vault.sessions(ada.id, second(5)).await.unwrap().is_empty());
    assert_eq!(vault.refresh([2; 32], [9; 32], second(5), second(2000)).await.unwrap(), Refreshed::Unknown);
}

pub async fn however_close_a_login_comes_to_a_changed_password_no_session_of_it_is_left(fixture: &dyn Fixture) {
    let vaults = handles(fixture).await;
    for round in 0..10 {
        let ada = account(&*vaults[0], &format!("ada_{round}"), 1).await;
        let stored = vaults[0].login_of(ada.id).await.unwrap().unwrap().stored;
        let begun = vaults.iter().enumerate().flat_map(|(at, vault)| {
            let (stored, id) = (&stored, ada.id);
            (0..4).map(move |number| async move {
                let session = crate::random::uuid_v7(second(2), &crate::random::SystemRandom);
                let token = *blake3::hash(format!("{round} {at} {number}").as_bytes()).as_bytes();
                let (created_at, expires_at) = (second(2), second(1000));
                let new = NewSession { id: session, account: id, checked: stored.clone(), agent: None, token, created_at, expires_at };
                vault.insert_session(&new).await.unwrap()
            })
        });
        let change = vaults[1].set_password(ada.id, &stored, "another hash", None, second(3));
        let (_, changed) = futures::future::join(futures::future::join_all(begun), change).await;
        assert!(changed.unwrap());
        assert_eq!(vaults[0].sessions(ada.id, second(4)).await.unwrap(), []);
    }
}

pub async fn a_refresh_token_is_used_once_however_many_try_at_once(fixture: &dyn Fixture) {
    let vaults = handles(fixture).await;
    let ada = account(&*vaults[0], "ada", 1).await;
    let begun = session(&*vaults[0], ada.id, 1, 2).await;
    let using = vaults.iter().enumerate().map(|(at, vault)| async move {
        let next = [100 + u8::try_from(at).unwrap(); 32];
        (vault.refresh([1; 32], next, second(10), second(2000)).await.unwrap(), next)
    });
    let used = futures::future::join_all(using).await;
    let (yes, again): (Vec<_>, Vec<_>) = used.into_iter().partition(|(refreshed, _)| matches!(refreshed, Refreshed::Yes(_)));
    assert_eq!(yes.len(), 1);
    assert!(again.iter().all(|(refreshed, _)| *refreshed == Refreshed::Again(begun)));
    let refreshed = vaults[1].session(begun).await.unwrap().unwrap();
    assert_eq!((refreshed.expires_at, refreshed.roles, refreshed.issuer), (second(2000), ada.roles, ada.issuer));
    assert_eq!(yes[0].0, Refreshed::Yes(refreshed.clone()));
    // What the others would have been given was never made.
    assert_eq!(vaults[0].refresh(again[0].1, [9; 32], second(11), second(2000)).await.unwrap(), Refreshed::Unknown);
    assert_eq!(vaults[0].refresh(yes[0].1, [9; 32], second(11), second(2000)).await.unwrap(), Refreshed::Yes(refreshed));
}

pub async fn a_deactivated_organisations_refresh_token_is_not_used_up(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let begun = session(&*vault, ada.id, 1, 2).await;
    assert!(vault.deactivate_organisation(ada.issuer, Some(second(3))).await.unwrap());
    for _ in 0..2 {
        assert_eq!(vault.refresh([1; 32], [8; 32], second(4), second(2000)).await.unwrap(), Refreshed::Deactivated);
    }
    assert_eq!(vault.refresh([8; 32], [9; 32], second(4), second(2000)).await.unwrap(), Refreshed::Unknown);
    assert!(vault.deactivate_organisation(ada.issuer, None).await.unwrap());
    let Refreshed::Yes(refreshed) = vault.refresh([1; 32], [8; 32], second(5), second(2000)).await.unwrap() else { panic!("it is good") };
    assert_eq!((refreshed.id, refreshed.account, refreshed.expires_at), (begun, ada.id, second(2000)));
    // What was used stays used, and what is over is over, whether the organisation is active or not.
    assert!(vault.deactivate_organisation(ada.issuer, Some(second(6))).await.unwrap());
    assert_eq!(vault.refresh([1; 32], [9; 32], second(7), second(3000)).await.unwrap(), Refreshed::Again(begun));
    assert_eq!(vault.refresh([8; 32], [9; 32], second(2000), second(3000)).await.unwrap(), Refreshed::Again(begun));
}

pub async fn an_ended_session_is_not_refreshed(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let (begun, old) = (session(&*vault, ada.id, 1, 2).await, session(&*vault, ada.id, 2, 2).await);
    assert!(!vault.end_session(issuer(9), begun, second(3)).await.unwrap());
    assert!(vault.end_session(ada.id, begun, second(3)).await.unwrap());
    assert!(!vault.end_session(ada.id, begun, second(4)).await.unwrap());
    assert_eq!(vault.refresh([1; 32], [8; 32], second(5), second(2000)).await.unwrap(), Refreshed::Again(begun));
    assert_eq!(vault.refresh([2; 32], [9; 32], second(1000), second(2000)).await.unwrap(), Refreshed::Again(old));
    assert_eq!(vault.session(old).await.unwrap().unwrap().expires_at, second(1000));
}

pub async fn sessions_that_are_over_are_forgotten_with_their_tokens(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let ada = account(&*vault, "ada", 1).await;
    let (ended, live) = (session(&*vault, ada.id, 1, 2).await, session(&*vault, ada.id, 2, 2).await);
    assert!(vault.end_session(ada.id, ended, second(3)).await.unwrap());
    assert_eq!(vault.forget_sessions(second(3)).await.unwrap(), 0);
    assert_eq!(vault.forget_sessions(second(4)).await.unwrap(), 1);
    assert_eq!(vault.session(ended).await.unwrap(), None);
    assert_eq!(vault.refresh([1; 32], [8; 32], second(5), second(2000)).await.unwrap(), Refreshed::Unknown);
    assert!(vault.session(live).await.unwrap().is_some());
    assert_eq!(vault.forget_sessions(second(1001)).await.unwrap(), 1);
}

pub async fn access_tokens_are_signed_by_keys_that_come_and_go(fixture: &dyn Fixture) {
    let vaults = handles(fixture).await;
    let vault = &vaults[0];
    futures::future::join_all(vaults.iter().map(|vault| async { vault.add_token_key(second(0), second(10)).await.unwrap() })).await;
    let first = vault.token_keys().await.unwrap();
    assert!((1..=HANDLES).contains(&first.len()) && first.iter().all(|key| key.created_at == second(10) && key.retired_at.is_none()));
    vault.add_token_key(second(5), second(20)).await.unwrap();
    assert_eq!(vault.token_keys().await.unwrap(), first);
    vault.add_token_key(second(15), second(20)).await.unwrap();
    let keys = vault.token_keys().await.unwrap();
    assert_eq!(keys.len(), first.len() + 1);
    for key in &keys {
        assert_eq!(vaults[1].token_signing_key(&key.kid).await.unwrap().unwrap().public(), key.public);
    }
    assert!(vault.token_signing_key("another").await.unwrap().is_none());
    vault.replace_token_keys(second(30)).await.unwrap();
    let replaced = vault.token_keys().await.unwrap();
    let (newest, older) = replaced.split_last().unwrap();
    assert!(newest.retired_at.is_none() && older.iter().all(|key| key.retired_at == Some(second(30))) && older.len() == keys.len());
    vault.forget_token_keys(second(100)).await.unwrap();
    assert_eq!(vault.token_keys().await.unwrap(), std::slice::from_ref(newest));
}

fn worker(instance: u128, name: &str, started: u64, seen: u64) -> Worker {
    Worker {
        instance: Uuid::from_u128(instance),
        name: name.to_owned(),
        role: "all".to_owned(),
        version: "0.1.0".to_owned(),
        started_at: second(started),
        last_seen_at: second(seen),
        cursors: r#"{"verification":"ledger@42"}"#.to_owned(),
        master_keys: Vec::new(),
    }
}

pub async fn a_worker_lives_while_it_says_so(fixture: &dyn Fixture) {
    let (vault, elsewhere) = (open(fixture).await, open(fixture).await);
    let (one, two) = (worker(1, "one", 0, 10), worker(2, "two", 0, 12));
    vault.heartbeat(&one, second(0)).await.unwrap();
    elsewhere.heartbeat(&two, second(0)).await.unwrap();
    assert_eq!(vault.workers(second(10)).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(vault.workers(second(11)).await.unwrap(), std::slice::from_ref(&two));
    // It moves on, and whoever was silent for too long is forgotten.
    let two = Worker { last_seen_at: second(20), cursors: "{}".to_owned(), ..two };
    elsewhere.heartbeat(&two, second(11)).await.unwrap();
    assert_eq!(vault.workers(second(0)).await.unwrap(), std::slice::from_ref(&two));
    vault.goodbye(two.instance).await.unwrap();
    vault.goodbye(two.instance).await.unwrap();
    assert!(elsewhere.workers(second(0)).await.unwrap().is_empty());
}

pub async fn workers_are_listed_by_name_and_start(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let workers = [worker(4, "a", 5, 9), worker(3, "b", 1, 9), worker(1, "b", 2, 9), worker(2, "b", 2, 9)];
    for worker in workers.iter().rev() {
        vault.heartbeat(worker, second(0)).await.unwrap();
    }
    assert_eq!(vault.workers(second(0)).await.unwrap(), workers);
}

pub async fn a_log_has_one_key_until_it_is_given_another(fixture: &dyn Fixture) {
    let (vault, at) = (open(fixture).await, Timestamp::from_micros);
    assert_eq!(vault.log_keys(&LogName::LEDGER).await.unwrap(), []);
    let first = vault.log_key(&LogName::LEDGER, at(1)).await.unwrap().verifier();
    assert_eq!(first.name(), "ledger.example/base/v1/logs/ledger");
    assert_eq!(open(fixture).await.log_key(&LogName::LEDGER, at(2)).await.unwrap().verifier(), first);
    let second = vault.rotate_log_key(&LogName::LEDGER, at(3)).await.unwrap().verifier();
    assert_eq!(open(fixture).await.log_key(&LogName::LEDGER, at(4)).await.unwrap().verifier(), second);
    let keys = vault.log_keys(&LogName::LEDGER).await.unwrap();
    let told: Vec<_> = keys.iter().map(|key| (key.number, key.public, key.created_at)).collect();
    assert_eq!(told, [(0, first.public(), at(1)), (1, second.public(), at(3))]);
    assert_ne!(vault.log_key(&LogName::AUDIT, at(5)).await.unwrap().verifier().public(), second.public());
}

pub async fn handles_that_ask_for_a_logs_key_at_once_agree(fixture: &dyn Fixture) {
    let handles = futures::future::join_all((0..HANDLES).map(|_| open(fixture))).await;
    let asked = handles.iter().map(|vault| vault.log_key(&LogName::LEDGER, Timestamp::from_micros(1)));
    let keys: BTreeSet<[u8; 32]> = futures::future::join_all(asked).await.into_iter().map(|key| key.unwrap().verifier().public()).collect();
    assert_eq!(keys.len(), 1);
}

pub async fn the_guard_moves_from_the_note_that_is_known_only(fixture: &dyn Fixture) {
    let (one, other) = (open(fixture).await, open(fixture).await);
    assert_eq!(one.guard(&LogName::LEDGER).await.unwrap(), None);
    assert!(!one.advance_guard(&LogName::LEDGER, Some("a"), "b").await.unwrap());
    assert!(one.advance_guard(&LogName::LEDGER, None, "a").await.unwrap());
    assert!(!other.advance_guard(&LogName::LEDGER, None, "b").await.unwrap());
    assert!(other.advance_guard(&LogName::LEDGER, Some("a"), "b").await.unwrap());
    assert!(!one.advance_guard(&LogName::LEDGER, Some("a"), "c").await.unwrap());
    assert_eq!(one.guard(&LogName::LEDGER).await.unwrap().as_deref(), Some("b"));
    assert_eq!(one.guard(&LogName::AUDIT).await.unwrap(), None);
}

pub async fn one_process_at_a_time_goes_through_the_first_start(fixture: &dyn Fixture) {
    let (vault, elsewhere) = (open(fixture).await, open(fixture).await);
    let guard = vault.first_start().await.unwrap();
    let waiting = tokio::spawn(async move { elsewhere.first_start().await.map(drop) });
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!waiting.is_finished());
    // Only the first start waits, not the vault.
    vault.month_key("2026-01").await.unwrap();
    drop(guard);
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
    drop(vault.first_start().await.unwrap());
}

pub async fn one_process_at_a_time_rotates_the_master_key(fixture: &dyn Fixture) {
    let handles = handles(fixture).await;
    let guard = handles[0].rotation_guard().await.unwrap().unwrap();
    assert!(handles[1].rotation_guard().await.unwrap().is_none());
    // A first start has nothing to do with it.
    drop(handles[2].first_start().await.unwrap());
    drop(guard);
    let mut again = None;
    for _ in 0..100 {
        again = handles[1].rotation_guard().await.unwrap();
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(again.is_some(), "the guard was not given back");
}

/// From the master key of all sentences to another one.
fn rotation_at(stage: Stage) -> Rotation {
    Rotation { from: key(7).fingerprint(), to: key(9).fingerprint(), stage }
}

pub async fn a_rotation_moves_from_the_one_that_is_known_only(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    assert_eq!(vault.rotation().await.unwrap(), None);
    let (announced, wrapping) = (rotation_at(Stage::Announced), rotation_at(Stage::Wrapping));
    assert!(!vault.set_rotation(Some(&announced), &wrapping).await.unwrap());
    assert!(vault.set_rotation(None, &announced).await.unwrap());
    assert!(!vault.set_rotation(None, &wrapping).await.unwrap());
    let other = Rotation { to: key(10).fingerprint(), ..announced };
    assert!(!vault.set_rotation(Some(&other), &wrapping).await.unwrap());
    assert_eq!(vault.rotation().await.unwrap(), Some(announced));
    assert!(vault.set_rotation(Some(&announced), &other).await.unwrap());
    assert_eq!(vault.rotation().await.unwrap(), Some(other));
}

async fn with_both(fixture: &dyn Fixture) -> Arc<dyn Vault> {
    fixture.open(MasterKeys::and(key(7), key(9)), None).await.unwrap()
}

pub async fn while_the_master_key_is_rotated_every_handle_opens_what_any_of_them_wraps(fixture: &dyn Fixture) {
    open(fixture).await;
    let handles = [with_both(fixture).await, with_both(fixture).await];
    let mut known = None;
    for (at, stage) in [Stage::Announced, Stage::Wrapping, Stage::Done].into_iter().enumerate() {
        // One hears of it later than the other.
        assert!(handles[0].set_rotation(known.as_ref(), &rotation_at(stage)).await.unwrap());
        known = Some(rotation_at(stage));
        handles[0].follow_master_key().await.unwrap();
        for (number, handle) in handles.iter().enumerate() {
            let refs = refs(&**handle, issuer(1), &format!("ada {at} {number}"), "ada@example.org");
            let made = handle.subjects(&[refs], second(0)).await.unwrap().remove(0);
            handle.month_key(&format!("2026-{at}{number}")).await.unwrap();
            let account = account(&**handle, &format!("ada{at}{number}"), 0).await;
            for other in &handles {
                assert_eq!(other.subjects(&[refs], second(0)).await.unwrap().remove(0).key, made.key);
                assert!(other.month_key(&format!("2026-{at}{number}")).await.is_ok());
                assert_eq!(other.account(account.id).await.unwrap(), Some(account.clone()));
            }
        }
        handles[1].follow_master_key().await.unwrap();
        handles[0].outlast_writers().await.unwrap();
        if stage == Stage::Wrapping {
            rotation::rewrap(&*handles[0], &mut |_, _| {}).await.unwrap();
        }
    }
}

pub async fn a_handle_without_the_key_that_wraps_neither_opens_nor_wraps(fixture: &dyn Fixture) {
    let (old, both) = (open(fixture).await, with_both(fixture).await);
    assert_eq!(old.lacking_master_key().await.unwrap(), None);
    assert!(both.set_rotation(None, &rotation_at(Stage::Announced)).await.unwrap());
    assert_eq!(old.lacking_master_key().await.unwrap(), Some(Lacking::Announced(key(9).fingerprint())));
    // Announced, the new key is nothing that one needs yet.
    old.follow_master_key().await.unwrap();
    let refs = refs(&*old, issuer(1), "ada", "ada@example.org");
    old.subjects(&[refs], second(0)).await.unwrap();
    assert_eq!(old.ring().fingerprints(), [key(7).fingerprint()]);
    drop(fixture.open(master_key(), None).await.unwrap());
    assert!(both.set_rotation(Some(&rotation_at(Stage::Announced)), &rotation_at(Stage::Wrapping)).await.unwrap());
    assert!(old.follow_master_key().await.is_err());
    assert_eq!(old.lacking_master_key().await.unwrap(), Some(Lacking::Wrapping(NotAtHand::Named(key(9).fingerprint()))));
    assert_eq!(both.lacking_master_key().await.unwrap(), None);
    let refused = fixture.open(master_key(), None).await.err();
    assert!(matches!(refused, Some(OpenError::OtherMasterKey(named)) if named == key(9).fingerprint()));
}

pub async fn after_a_rotation_the_old_master_key_opens_nothing(fixture: &dyn Fixture) {
    let (first, both) = (open(fixture).await, with_both(fixture).await);
    let now = second(0);
    let refs: Vec<SubjectRefs> = (0..1200).map(|n| refs(&*first, issuer(1), &format!("ada {n}"), &format!("ada{n}@example.org"))).collect();
    let subjects = first.subjects(&refs, now).await.unwrap();
    let issuer = first.ensure_issuer("default", now).await.unwrap();
    let signing = first.signing_key(&issuer.did).await.unwrap().unwrap().public();
    let month = first.month_key("2026-01").await.unwrap();
    first.rotate_log_key(&LogName::LEDGER, now).await.unwrap();
    let log = first.rotate_log_key(&LogName::LEDGER, now).await.unwrap();
    let account = account(&*first, "ada", 0).await;
    let session = session(&*first, account.id, 1, 0).await;
    let login = first.login_of(account.id).await.unwrap().unwrap();
    first.add_token_key(Timestamp::EPOCH, now).await.unwrap();
    let kid = first.token_keys().await.unwrap().remove(0).kid;
    let lookup = first.lookup().secret(b"secret");
    drop(first);

    let (announced, wrapping, done) = (rotation_at(Stage::Announced), rotation_at(Stage::Wrapping), rotation_at(Stage::Done));
    assert!(both.set_rotation(None, &announced).await.unwrap());
    assert!(both.set_rotation(Some(&announced), &wrapping).await.unwrap());
    both.follow_master_key().await.unwrap();
    let mut told = Vec::new();
    let changed = rotation::rewrap(&*both, &mut |done, total| told.push((done, total))).await.unwrap();
    // Look-up keys, subjects, two keys of the issuer, month, two keys of the log, the account's two, the session, the token key.
    assert_eq!(changed, 1 + 1200 + 2 + 1 + 2 + 2 + 1 + 1);
    assert!(told.len() > 10 && told.is_sorted() && told.last() == Some(&(changed, changed)), "{told:?}");
    assert_eq!(rotation::rewrap(&*both, &mut |_, _| {}).await.unwrap(), 0);
    assert!(both.set_rotation(Some(&wrapping), &done).await.unwrap());

    assert!(matches!(fixture.open(master_key(), None).await.err(), Some(OpenError::WrongMasterKey)));
    let vault = fixture.open(key(9).into(), None).await.unwrap();
    assert_eq!(vault.lookup().secret(b"secret"), lookup);
    for (subject, again) in subjects.iter().zip(vault.subjects(&refs, now).await.unwrap()) {
        assert_eq!((subject.id, &subject.key), (again.id, &again.key));
    }
    assert_eq!(vault.signing_key(&issuer.did).await.unwrap().unwrap().public(), signing);
    assert_eq!(vault.month_key("2026-01").await.unwrap(), month);
    assert_eq!(vault.log_key(&LogName::LEDGER, now).await.unwrap().verifier(), log.verifier());
    assert_eq!(vault.account(account.id).await.unwrap(), Some(account.clone()));
    let again = vault.login_of(account.id).await.unwrap().unwrap();
    assert!(again.password == login.password && again.stored != login.stored);
    assert_eq!(vault.sessions(account.id, now).await.unwrap()[0].id, session);
    assert!(vault.token_signing_key(&kid).await.unwrap().is_some());
}

pub async fn what_was_changed_or_destroyed_since_it_was_read_is_not_wrapped_anew(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let refs = ["ada", "bob"].map(|name| refs(&*vault, issuer(1), name, "one@example.org"));
    let subjects = vault.subjects(&refs, second(0)).await.unwrap();
    let account = account(&*vault, "ada", 0).await;
    for month in ["2026-01", "2026-02"] {
        vault.month_key(month).await.unwrap();
    }
    let mut read = Vec::new();
    for column in rotation::WRAPPED {
        read.push((column, vault.select_wrapped(column, None).await.unwrap()));
    }
    vault.forget_subjects(&[subjects[0].id]).await.unwrap();
    vault.forget_months(&["2026-01".to_owned()]).await.unwrap();
    let changed = Profile { last_name: Some("Lovelace".to_owned()), ..account.profile.clone() };
    let email = vault.lookup().account(&account.profile.email);
    assert_eq!(vault.set_profile(account.id, &account.profile, &changed, email).await.unwrap(), Change::Done);
    for (column, cells) in read {
        let again: Vec<Again> = cells.into_iter().map(|cell| Again { wrapped: cell.wrapped.clone(), cell }).collect();
        let left = match format!("{column:?}").as_str() {
            "subjects.wrapped_key" | "month_keys.wrapped_key" => 1,
            "accounts.wrapped_profile" => 0,
            _ => again.len() as u64,
        };
        assert_eq!(vault.replace_wrapped(column, again).await.unwrap(), left, "{column:?}");
    }
    assert_eq!(vault.subject_refs(&[subjects[0].id, subjects[1].id]).await.unwrap(), [None, Some(refs[1])]);
    assert!(vault.month_key("2026-01").await.is_err());
    assert_eq!(vault.account(account.id).await.unwrap().map(|account| account.profile), Some(changed));
}

pub async fn nothing_secret_is_stored_in_clear(fixture: &dyn Fixture) {
    let vault = open(fixture).await;
    let default = vault.ensure_issuer("default", second(1)).await.unwrap();
    let subject = vault.subjects(&[refs(&*vault, default.id, "Ada Lovelace", "ada@example.org")], second(1)).await.unwrap().remove(0);
    let month = vault.month_key("2026-01").await.unwrap();
    let sealing = vault.issuer_key(default.id).await.unwrap().unwrap();
    let (key, text) = vault.create_key(&Terms::of(Role::Admin, default.id), second(1)).await.unwrap();
    let next = vault.next_issuer_key(default.id).await.unwrap().unwrap();
    let ada = account(&*vault, "countess", 1).await;
    session(&*vault, ada.id, 1, 2).await;
    vault.add_token_key(second(1), second(2)).await.unwrap();
    let kid = vault.token_keys().await.unwrap().remove(0).kid;
    let tokens = vault.token_signing_key(&kid).await.unwrap().unwrap();
    let (signing, pending) = (vault.signing_key(&default.did).await.unwrap().unwrap(), vault.signing_key(&next).await.unwrap().unwrap());
    drop(vault);
    let stored = fixture.stored().await;
    assert!(contains(&stored, key.prefix.as_bytes()) && contains(&stored, default.did.as_bytes()), "the search would find it");
    let digits = &text["credence_".len()..];
    for secret in [&[7; 32], subject.key.expose(), month.expose(), sealing.expose(), signing.expose(), pending.expose(), tokens.expose()] {
        for spelling in [secret.to_vec(), hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()] {
            assert!(!contains(&stored, &spelling));
        }
    }
    for secret in
        [digits.as_bytes(), &hex::decode(digits).unwrap(), b"Ada Lovelace", b"ada@example.org", b"countess", b"a hash of", b"a browser"]
    {
        assert!(!contains(&stored, secret));
    }
}

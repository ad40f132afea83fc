//! What is held about a person, as it is asked for and answered.

use credence_ledger::LogName;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::account::AccountBody;
use super::credential::{CredentialBody, NAME, email};
use super::event::Event;
use super::key::ISSUER;
use crate::http::body::Fields;
use crate::use_cases::subjects::export::{About, Erased, ExportSubject};

/// Whose data is asked for. Name and address are compared whole, in normal form.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document; `read_export` reads it")]
pub struct ExportRequest {
    /// The person's e-mail address.
    #[schema(example = "ada@example.org")]
    email: String,
    /// Its name; absent: everybody with the address.
    #[schema(example = "Ada Lovelace")]
    name: Option<String>,
    /// The organisation whose subject it is, by its name; absent: the caller's own, for an operator all. Only an operator may name another.
    issuer: Option<String>,
}

/// Everything that is held about a person.
#[derive(ToSchema)]
#[schema(as = Export)]
#[expect(dead_code, reason = "describes an answer in the OpenAPI document; `Writer` writes it")]
pub struct ExportBody {
    /// The account with the address, if it is in an organisation that is asked; null otherwise.
    #[schema(required)]
    account: Option<AccountBody>,
    /// Whom credentials are about: one for each organisation and name.
    subjects: Vec<ExportedSubject>,
    /// Who was erased while this was written: of those nothing else is told, or in `subjects` what stood there before.
    erased: Vec<ErasedMeanwhile>,
}

/// A subject that was erased while what is held about it was to be told.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErasedMeanwhile {
    /// Its id.
    id: Uuid,
    /// The name of its organisation.
    #[schema(example = "default")]
    issuer: String,
    /// The position of its `SubjectErased`.
    #[schema(example = "ledger@42")]
    position: String,
}

impl From<&Erased> for ErasedMeanwhile {
    fn from(erased: &Erased) -> ErasedMeanwhile {
        ErasedMeanwhile { id: erased.id, issuer: erased.issuer.clone(), position: LogName::LEDGER.at(erased.position).to_string() }
    }
}

/// What is held about a subject. All its lists go credential by credential, oldest first.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes an answer in the OpenAPI document; `Writer` writes it")]
pub struct ExportedSubject {
    /// Its id.
    id: Uuid,
    /// The name of its organisation.
    #[schema(example = "default")]
    issuer: String,
    /// As its credentials have it; where it has none, as it was asked for, or null.
    #[schema(required)]
    name: Option<String>,
    /// In normal form.
    email: String,
    /// Its credentials, whatever their status, with their documents.
    credentials: Vec<CredentialBody<'static>>,
    /// Their events, with what is sealed in them opened.
    events: Vec<Event>,
    /// Their entries in the audit log. What is sealed in them concerns whoever asked, and stays so.
    verifications: Vec<Event>,
}

/// Reads whose data is asked for.
pub fn read_export(fields: &mut Fields) -> Option<ExportSubject> {
    let (email, name) = (email(fields, "email", true), fields.text("name", &NAME));
    let issuer = fields.text("issuer", &ISSUER);
    Some(ExportSubject { email: email?, name, issuer })
}

/// A list of a subject, in the order in which they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// See [`ExportedSubject`].
    Credentials,
    /// See [`ExportedSubject`].
    Events,
    /// See [`ExportedSubject`].
    Verifications,
}

/// Writes an [`ExportBody`] as it comes, so that it need not be held whole.
pub struct Writer {
    bytes: Vec<u8>,
    /// The list of the subject at hand that is being written.
    list: Option<List>,
    /// Whether something stands before what comes next, within its list.
    follows: bool,
    erased: Vec<ErasedMeanwhile>,
}

impl Writer {
    /// Begins with the account.
    ///
    /// # Errors
    /// It cannot be written as JSON; so the others.
    pub fn begin(account: Option<&AccountBody>) -> Result<Writer, serde_json::Error> {
        let mut writer = Writer { bytes: br#"{"account":"#.to_vec(), list: None, follows: false, erased: Vec::new() };
        serde_json::to_writer(&mut writer.bytes, &account)?;
        writer.bytes.extend(br#","subjects":["#);
        Ok(writer)
    }

    /// A subject begins; the one before is complete.
    ///
    /// # Errors
    /// See [`Writer::begin`].
    pub fn subject(&mut self, about: &About) -> Result<(), serde_json::Error> {
        if self.end_subject() {
            self.bytes.push(b',');
        }
        for (member, value) in [
            (r#"{"id":"#, serde_json::to_value(about.id)?),
            (r#","issuer":"#, serde_json::to_value(&about.issuer)?),
            (r#","name":"#, serde_json::to_value(&about.name)?),
            (r#","email":"#, serde_json::to_value(&about.email)?),
        ] {
            self.bytes.extend(member.as_bytes());
            serde_json::to_writer(&mut self.bytes, &value)?;
        }
        self.bytes.extend(br#","credentials":["#);
        (self.list, self.follows) = (Some(List::Credentials), false);
        Ok(())
    }

    /// An item of a list of the subject at hand. Lists before it are complete.
    ///
    /// # Errors
    /// See [`Writer::begin`].
    pub fn item(&mut self, list: List, item: &impl Serialize) -> Result<(), serde_json::Error> {
        self.go_on_to(list);
        if self.follows {
            self.bytes.push(b',');
        }
        self.follows = true;
        serde_json::to_writer(&mut self.bytes, item)
    }

    /// A subject was erased: what has been written of it is all.
    pub fn erased(&mut self, erased: &Erased) {
        self.erased.push(erased.into());
    }

    /// What has been written since this was last asked.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The rest.
    ///
    /// # Errors
    /// See [`Writer::begin`].
    pub fn end(mut self) -> Result<Vec<u8>, serde_json::Error> {
        self.end_subject();
        self.bytes.extend(br#"],"erased":"#);
        serde_json::to_writer(&mut self.bytes, &self.erased)?;
        self.bytes.push(b'}');
        Ok(self.bytes)
    }

    fn go_on_to(&mut self, list: List) {
        for (before, next, name) in
            [(List::Credentials, List::Events, r#"],"events":["#), (List::Events, List::Verifications, r#"],"verifications":["#)]
        {
            if self.list == Some(before) && before < list {
                self.bytes.extend(name.as_bytes());
                (self.list, self.follows) = (Some(next), false);
            }
        }
    }

    /// Answers whether there was one.
    fn end_subject(&mut self) -> bool {
        self.go_on_to(List::Verifications);
        let was_begun = self.list.take().is_some();
        if was_begun {
            self.bytes.extend(b"]}");
        }
        was_begun
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(subjects: &[(&str, Vec<(List, u8)>)]) -> Value {
        let mut writer = Writer::begin(None).unwrap();
        let mut bytes = writer.take();
        for (name, items) in subjects {
            let about = About { id: Uuid::nil(), issuer: "a \"b\"".to_owned(), name: Some((*name).to_owned()), email: String::new() };
            writer.subject(&about).unwrap();
            for (list, item) in items {
                writer.item(*list, item).unwrap();
                bytes.extend(writer.take());
            }
        }
        bytes.extend(writer.end().unwrap());
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn whatever_there_is_and_is_not_comes_out_as_json() {
        use List::{Credentials, Events, Verifications};
        let subject = |name: &str, credentials: &[u8], events: &[u8], verifications: &[u8]| {
            json!({"id": Uuid::nil(), "issuer": "a \"b\"", "name": name, "email": "", "credentials": credentials, "events": events,
                "verifications": verifications})
        };
        assert_eq!(written(&[]), json!({"account": null, "subjects": [], "erased": []}));
        let nothing = written(&[("nobody", vec![])]);
        assert_eq!(nothing, json!({"account": null, "subjects": [subject("nobody", &[], &[], &[])], "erased": []}));
        let all = vec![(Credentials, 1), (Credentials, 2), (Events, 3), (Verifications, 4), (Verifications, 5)];
        let several =
            written(&[("one", all), ("two", vec![(Verifications, 6)]), ("three", vec![(Events, 7), (Events, 8)]), ("four", vec![])]);
        let subjects = [
            subject("one", &[1, 2], &[3], &[4, 5]),
            subject("two", &[], &[], &[6]),
            subject("three", &[], &[7, 8], &[]),
            subject("four", &[], &[], &[]),
        ];
        assert_eq!(several, json!({"account": null, "subjects": subjects, "erased": []}));
    }

    #[test]
    fn a_subject_that_is_erased_half_way_is_closed_and_told_as_erased() {
        let about = |name: &str| About { id: Uuid::nil(), issuer: "a".to_owned(), name: Some(name.to_owned()), email: String::new() };
        let erased = Erased { id: Uuid::nil(), issuer: "a".to_owned(), position: credence_ledger::Position(7) };
        let mut writer = Writer::begin(None).unwrap();
        writer.erased(&erased);
        writer.subject(&about("one")).unwrap();
        writer.item(List::Credentials, &1).unwrap();
        writer.erased(&erased);
        writer.subject(&about("two")).unwrap();
        let told: Value = serde_json::from_slice(&writer.end().unwrap()).unwrap();
        let names: Vec<_> = told["subjects"].as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(told["subjects"][0]["credentials"], json!([1]));
        let erased = json!({"id": Uuid::nil(), "issuer": "a", "position": "ledger@7"});
        assert_eq!(told["erased"], json!([erased, erased]));
    }
}

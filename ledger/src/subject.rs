//! Who a credential is about: the normal form in which names and e-mail addresses are compared and kept.
//!
//! The normal form of a normal form is itself. Rules (lengths, control characters) are judged elsewhere: control characters on
//! what was given, since some of them are white space and are folded here; lengths on the normal form.

use email_address::{EmailAddress, Options};
use unicode_normalization::UnicodeNormalization as _;

/// A name in normal form: NFC, trimmed, inner white space folded to single spaces. The case stays.
#[must_use]
pub fn normal_name(name: &str) -> String {
    let composed: String = name.nfc().collect();
    composed.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An e-mail address in normal form: NFC, trimmed, lower case.
#[must_use]
pub fn normal_email(email: &str) -> String {
    let mut normal = email.to_owned();
    // Lower-casing can undo the composition and composing can bring back a capital, so until nothing changes.
    loop {
        let next: String = normal.trim().nfc().collect::<String>().to_lowercase().nfc().collect();
        if next == normal {
            return normal;
        }
        normal = next;
    }
}

/// Whether an e-mail address in normal form could be one: a local part and a domain of at least two labels, without display
/// name or literal address (RFC 5321, with the letters of RFC 6531). Whether mail arrives there is another question.
#[must_use]
pub fn email_is_plausible(email: &str) -> bool {
    let options = Options::default().with_required_tld().without_domain_literal().without_display_text();
    EmailAddress::parse_with_options(email, options).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_composed_trimmed_and_folded_but_keeps_its_case() {
        for (given, normal) in [
            ("  Ada   Lovelace ", "Ada Lovelace"),
            ("Ada\u{a0}\u{3000}Lovelace", "Ada Lovelace"),
            ("Zoe\u{308}", "Zoë"),
            ("مريم  الأسطرلابي", "مريم الأسطرلابي"),
            ("👩‍🚀", "👩‍🚀"),
            (" \u{2003}", ""),
        ] {
            assert_eq!(normal_name(given), normal, "{given:?}");
        }
    }

    #[test]
    fn an_address_is_composed_trimmed_and_lower_case() {
        for (given, normal) in [
            (" Ada@Example.ORG\n", "ada@example.org"),
            ("A\u{30a}SA@example.org", "åsa@example.org"),
            ("İ@example.org", "i\u{307}@example.org"),
            ("\u{212a}elvin@example.org", "kelvin@example.org"),
        ] {
            assert_eq!(normal_email(given), normal, "{given:?}");
        }
    }

    #[test]
    fn an_address_needs_a_local_part_and_a_domain() {
        for plausible in ["ada@example.org", "ada.l+x@sub.example.co.uk", "o'brien@example.org", "δοκιμή@παράδειγμα.ελ", "用户@例子.公司"]
        {
            assert!(email_is_plausible(plausible), "{plausible}");
        }
        for not in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@@example.org",
            "ada@example",
            "a b@example.org",
            "ada@exam ple.org",
            "Ada <ada@example.org>",
            "ada@[127.0.0.1]",
            "ada@example..org",
            ".ada@example.org",
            "ada@example.org,b@example.org",
        ] {
            assert!(!email_is_plausible(not), "{not}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(text in "\\PC*|[\\s\\w\u{300}-\u{36f}İΣſ\u{212a}\u{2000}-\u{200b}]*") {
            let (name, email) = (normal_name(&text), normal_email(&text));
            prop_assert_eq!(normal_name(&name), name);
            prop_assert_eq!(normal_email(&email), email);
        }
    }

    #[test]
    fn no_single_character_has_an_unstable_normal_form() {
        // All letters that have a case or compose lie below.
        for character in '\0'..='\u{1ffff}' {
            let text = format!("x{character}\u{301}");
            let (name, email) = (normal_name(&text), normal_email(&text));
            assert_eq!(normal_name(&name), name, "{character:?}");
            assert_eq!(normal_email(&email), email, "{character:?}");
        }
    }
}

//! Searches for a text in all the spellings in which it could lie somewhere.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of this")]

use std::path::Path;

/// A text in the spellings in which it could lie in a file.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let json: String =
        text.chars().flat_map(|c| if c.is_ascii() { vec![c.to_string()] } else { vec![format!("\\u{:04x}", c as u32)] }).collect();
    let mut spellings = vec![text.as_bytes().to_vec(), json.clone().into_bytes(), json.to_uppercase().into_bytes()];
    spellings.push(hex::encode(text).into_bytes());
    spellings.push(hex::encode_upper(text).into_bytes());
    spellings.extend((0..3).map(|shift| base64_core(text.as_bytes(), shift)));
    spellings
}

/// The part of a base64 text that depends on `bytes` alone, when they begin `shift` bytes into a group of three. The alphabets
/// differ in two letters that stand for values 62 and 63; the samples above have none of them.
fn base64_core(bytes: &[u8], shift: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let letters = padded.chunks_exact(3).flat_map(|group| {
        let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        [18, 12, 6, 0].map(|at| ALPHABET[(bits >> at & 63) as usize])
    });
    letters.skip(if shift == 0 { 0 } else { 4 }).collect()
}

/// All files beneath a folder, with their bytes.
pub fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = std::fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

/// Which of these hold a text, in whichever spelling.
pub fn places_of<'a>(text: &str, haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    holding(&spellings(text), haystacks)
}

/// The same for bytes that are no text: as they are, and in hex.
pub fn places_of_bytes<'a>(bytes: &[u8], haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    let hex = [hex::encode(bytes).into_bytes(), hex::encode_upper(bytes).into_bytes()];
    holding(&[&[bytes.to_vec()], &hex[..]].concat(), haystacks)
}

fn holding<'a>(needles: &[Vec<u8>], haystacks: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    let holds = |bytes: &[u8]| needles.iter().any(|needle| memchr::memmem::find(bytes, needle).is_some());
    haystacks.iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_search_finds_every_spelling() {
    const NAME: &str = "Žofie Quillfeather";
    let hidden = [NAME.to_owned(), "\\u017dofie Quillfeather".to_owned(), hex::encode(NAME)];
    for text in hidden {
        let haystacks = [("file".to_owned(), format!("before{text}after").into_bytes())];
        assert_eq!(places_of(NAME, &haystacks).len(), 1, "{text}");
    }
    // "Žofie Quillfeather" in base64, at each of the three alignments.
    for text in ["xb1vZmllIFF1aWxsZmVhdGhlcg", "AMW9b2ZpZSBRdWlsbGZlYXRoZXI", "AADFvW9maWUgUXVpbGxmZWF0aGVy"] {
        let haystacks = [("file".to_owned(), text.as_bytes().to_vec())];
        assert_eq!(places_of(NAME, &haystacks).len(), 1, "{text}");
    }
}

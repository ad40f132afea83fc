//! A long text encrypted chunk by chunk, which shows when it was cut, reordered or altered: STREAM (Hoang, Reyhanitabar, Rogaway and
//! Vizár, 2015), with XChaCha20-Poly1305, in the form of the `aead-stream` crate (`BE32`).
//!
//! A chunk's nonce is a prefix of 19 bytes, the chunk's number in 4 and whether it is the last in 1. The prefix is zero: a key is used for
//! one text. All chunks but the last are full; the last may be, and is never empty unless it is the only one.

use std::io::{self, Read, Write};

use aead_stream::{DecryptorBE32, EncryptorBE32};
use chacha20poly1305::{Key, XChaCha20Poly1305};

/// How many bytes of the text a chunk holds.
const CHUNK: usize = 64 * 1024;
/// How many more it has encrypted.
const TAG: usize = 16;

/// Encrypts what is written to it. What was written is whole once it is finished.
pub(super) struct Encrypt<W> {
    out: W,
    encryptor: EncryptorBE32<XChaCha20Poly1305>,
    plain: Vec<u8>,
}

impl<W: Write> Encrypt<W> {
    pub(super) fn new(out: W, key: &[u8; 32]) -> Encrypt<W> {
        let encryptor = EncryptorBE32::new(&Key::from(*key), &Default::default());
        Encrypt { out, encryptor, plain: Vec::with_capacity(CHUNK) }
    }

    /// Where it writes to.
    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes the last chunk.
    pub(super) fn finish(mut self) -> io::Result<W> {
        let last = self.encryptor.encrypt_last(self.plain.as_slice()).map_err(|_| io::Error::other("the last chunk is not encrypted"))?;
        self.out.write_all(&last)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Encrypt<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known that it is not the last.
        if self.plain.len() == CHUNK {
            let chunk = self.encryptor.encrypt_next(self.plain.as_slice()).map_err(|_| io::Error::other("there are too many chunks"))?;
            self.out.write_all(&chunk)?;
            self.plain.clear();
        }
        let taken = bytes.len().min(CHUNK - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Decrypts what it reads. An end that is none, and whatever was altered, is an error of the kind `InvalidData`.
pub(super) struct Decrypt<R> {
    from: R,
    /// `None` after the last chunk.
    decryptor: Option<DecryptorBE32<XChaCha20Poly1305>>,
    /// A chunk, and the first byte of the next one, if there is one.
    encrypted: Vec<u8>,
    plain: Vec<u8>,
    at: usize,
}

impl<R: Read> Decrypt<R> {
    pub(super) fn new(from: R, key: &[u8; 32]) -> Decrypt<R> {
        let decryptor = DecryptorBE32::new(&Key::from(*key), &Default::default());
        Decrypt { from, decryptor: Some(decryptor), encrypted: Vec::new(), plain: Vec::new(), at: 0 }
    }

    /// Whether the text is at its end.
    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        self.fill()?;
        Ok(self.at == self.plain.len())
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at < self.plain.len() {
            return Ok(());
        }
        let Some(mut decryptor) = self.decryptor.take() else { return Ok(()) };
        let missing = CHUNK + TAG + 1 - self.encrypted.len();
        (&mut self.from).take(missing as u64).read_to_end(&mut self.encrypted)?;
        let altered = |_| io::Error::new(io::ErrorKind::InvalidData, "it was altered or cut, or is not encrypted by this key");
        if self.encrypted.len() == CHUNK + TAG + 1 {
            let next = self.encrypted.split_off(CHUNK + TAG);
            self.plain = decryptor.decrypt_next(self.encrypted.as_slice()).map_err(altered)?;
            self.encrypted = next;
            self.decryptor = Some(decryptor);
        } else {
            self.plain = decryptor.decrypt_last(self.encrypted.as_slice()).map_err(altered)?;
        }
        self.at = 0;
        Ok(())
    }
}

impl<R: Read> Read for Decrypt<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let count = into.len().min(self.plain.len() - self.at);
        into[..count].copy_from_slice(&self.plain[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(plain: &[u8]) -> Vec<u8> {
        let mut encrypt = Encrypt::new(Vec::new(), &[7; 32]);
        // In pieces that fit nothing.
        plain.chunks(1013).for_each(|piece| encrypt.write_all(piece).unwrap());
        encrypt.finish().unwrap()
    }

    fn decrypted(bytes: &[u8], key: u8) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decrypt::new(bytes, &[key; 32]).read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }

    #[test]
    fn what_was_encrypted_is_decrypted_whatever_its_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5] {
            let encrypted = encrypted(&text(length));
            assert_eq!(encrypted.len(), length + TAG * length.div_ceil(CHUNK).max(1), "{length}");
            assert!(decrypted(&encrypted, 7).unwrap() == text(length), "{length}");
            assert!(decrypted(&encrypted, 8).is_err());
            let mut decrypt = Decrypt::new(encrypted.as_slice(), &[7; 32]);
            decrypt.read_to_end(&mut Vec::new()).unwrap();
            assert!(decrypt.is_at_end().unwrap());
        }
    }

    #[test]
    fn what_was_cut_reordered_or_altered_is_refused() {
        let whole = encrypted(&text(3 * CHUNK));
        let chunk = CHUNK + TAG;
        for cut in [0, 1, TAG, chunk - 1, chunk, chunk + 1, 2 * chunk, 3 * chunk - 1] {
            assert!(decrypted(&whole[..cut], 7).is_err(), "cut at {cut}");
        }
        for at in [0, 1, chunk - 1, chunk, 2 * chunk + 5, 3 * chunk - 1] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            assert!(decrypted(&altered, 7).is_err(), "altered at {at}");
        }
        let parts: Vec<&[u8]> = whole.chunks(chunk).collect();
        for order in [vec![1, 0, 2], vec![0, 2], vec![0, 1, 1, 2], vec![0, 1, 2, 2], vec![2], vec![1, 2]] {
            let reordered: Vec<u8> = order.iter().flat_map(|at| parts[*at]).copied().collect();
            assert!(decrypted(&reordered, 7).is_err(), "{order:?}");
        }
        assert!(decrypted(&[whole.as_slice(), b"x"].concat(), 7).is_err());
    }
}

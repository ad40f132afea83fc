//! Only in the bench's own program: an issuance without the subject look-up and without sealing, to tell what they cost. A build with this
//! is no `credence`.

use credence_ledger::Stream;
use credence_ledger::event::new_id;
use credence_ledger::sealing::{KeyId, Sealed, SealingKey};
use credence_ledger::vault::{Issuer, Subject};
use serde_bytes::{ByteArray, ByteBuf};

use super::Error;
use super::issue::About;
use crate::services::Services;

/// A new one each time: nobody is looked up, and the vault is not asked.
pub(super) async fn subject(services: &Services, _issuer: &Issuer, _about: &About) -> Result<Subject, Error> {
    let id = new_id(&services.clock, &services.random);
    Ok(Subject { id, key: SealingKey::from_bytes([0; 32]), is_durable: true })
}

/// As it is, in the place of what would be sealed, and as long.
#[expect(clippy::unnecessary_wraps, reason = "it stands in the place of one that can fail")]
pub(super) fn seal(
    _services: &Services,
    (id, _key): &(KeyId, SealingKey),
    _stream: &Stream,
    _place: (&str, u16, &str),
    plain: &[u8],
) -> Result<Sealed, Error> {
    // A tag has 16 bytes.
    let ciphertext = ByteBuf::from([plain, &[0; 16]].concat());
    Ok(Sealed { ciphertext, key: id.to_string(), nonce: ByteArray::new([0; 24]) })
}

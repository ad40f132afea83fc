//! Who is asked to cosign checkpoints: a policy file (C2SP tlog-policy), as far as this process needs it.

use axum::http::Uri;
use credence_ledger::checkpoint::VerifierKey;
use credence_ledger::publisher::anchor::Anchor;
use credence_ledger::publisher::policy::{Known, Policy};
use credence_ledger::publisher::witness::Quorum;

use crate::witness;

/// Witnesses, and how many of them are wanted. Those that are asked can make a quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnesses {
    /// Who is asked: those with a URL. The others are for whoever verifies.
    pub asked: Vec<Asked>,
    /// Whose cosignatures are wanted.
    pub quorum: Quorum,
}

/// A witness that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name in the policy.
    pub name: Vec<u8>,
    /// The key by which its cosignatures are known.
    pub key: VerifierKey,
    /// Where it is asked.
    pub address: Uri,
}

impl Witnesses {
    /// Reads a policy file.
    pub(super) fn read(path: &str) -> Result<Witnesses, String> {
        let file = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let policy = Policy::read(&file).map_err(|error| format!("{path}, {error}"))?;
        let asked = policy.witnesses.iter().filter_map(asked).collect::<Result<Vec<Asked>, String>>()?;
        let keys: Vec<VerifierKey> = asked.iter().map(|asked| asked.key.clone()).collect();
        if !policy.quorum.is_met(&keys) {
            return Err(format!("{path}: too few witnesses have a URL for the quorum to be met"));
        }
        Ok(Witnesses { asked, quorum: policy.quorum })
    }

    /// The anchor that the witness with this name is.
    pub(super) fn anchor(&self, name: &str) -> Result<Anchor, String> {
        let found = self.asked.iter().find(|asked| asked.name == name.as_bytes());
        found.map(|asked| Anchor::Witness(asked.key.clone())).ok_or_else(|| "the policy has no witness of that name with a URL".to_owned())
    }
}

fn asked(known: &Known) -> Option<Result<Asked, String>> {
    let url = known.url.as_deref()?;
    let named = |problem| format!("witness {}: {problem}", String::from_utf8_lossy(&known.name));
    let address = witness::address(url).map_err(named);
    Some(address.map(|address| Asked { name: known.name.clone(), key: known.key.clone(), address }))
}

//! What a process serves.

use std::fmt;
use std::str::FromStr;

/// What a process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    All,
    /// Credentials, issuers, logs, services.
    Issuance,
    /// Verifications.
    Verification,
    /// Projections and rebuilds.
    Projector,
}

impl Role {
    /// All roles.
    pub const EVERY: [Role; 4] = [Role::All, Role::Issuance, Role::Verification, Role::Projector];

    /// As it is configured and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::All => "all",
            Role::Issuance => "issuance",
            Role::Verification => "verification",
            Role::Projector => "projector",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected all, issuance, verification or projector")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::EVERY.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

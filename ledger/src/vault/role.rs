//! What callers may do: roles, and sets of them. What each role may is the API's policy, not the vault's.

use std::fmt;
use std::str::FromStr;

/// A role. A caller has any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sees and changes its own account, nothing else.
    Member,
    /// Issues, changes and reads its organisation's credentials.
    Issuer,
    /// Reads what is its organisation's, changes nothing.
    Auditor,
    /// Reads what its organisation is billed for.
    Billing,
    /// Everything in its organisation, accounts and keys included.
    Admin,
    /// Reads the whole installation, changes nothing.
    Inspector,
    /// Everything in the whole installation.
    Operator,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Role; 7] = [Role::Member, Role::Issuer, Role::Auditor, Role::Billing, Role::Admin, Role::Inspector, Role::Operator];

    /// As it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Issuer => "issuer",
            Role::Auditor => "auditor",
            Role::Billing => "billing",
            Role::Admin => "admin",
            Role::Inspector => "inspector",
            Role::Operator => "operator",
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
#[error("expected member, issuer, auditor, billing, admin, inspector or operator")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A set of roles. As text: their names, the least first, with spaces between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// None.
    pub const NONE: Roles = Roles(0);

    /// These.
    #[must_use]
    pub const fn of(roles: &[Role]) -> Roles {
        let (mut bits, mut at) = (0, 0);
        while at < roles.len() {
            bits |= 1 << roles[at] as u8;
            at += 1;
        }
        Roles(bits)
    }

    /// Whether `role` is among them.
    #[must_use]
    pub const fn contains(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether any of `others` is among them.
    #[must_use]
    pub const fn intersects(self, others: Roles) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether all of them are among `others`.
    #[must_use]
    pub const fn is_within(self, others: Roles) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each, the least first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Roles {
        Roles::of(&[role])
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        roles.into_iter().fold(Roles::NONE, |set, role| Roles(set.0 | Roles::from(role).0))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, role) in self.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{role}")?;
        }
        Ok(())
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        text.split_ascii_whitespace().map(str::parse::<Role>).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(Roles::from(role).iter().collect::<Vec<_>>(), [role]);
        }
        let roles = Roles::of(&[Role::Admin, Role::Issuer]);
        assert_eq!(roles.to_string(), "issuer admin");
        assert_eq!("admin issuer issuer".parse(), Ok(roles));
        assert_eq!("".parse(), Ok(Roles::NONE));
        assert_eq!("issuer,admin".parse::<Roles>(), Err(UnknownRole));
        assert_eq!("Admin".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn a_set_knows_what_it_holds() {
        let roles = Roles::of(&[Role::Issuer, Role::Auditor]);
        assert!(roles.contains(Role::Issuer) && !roles.contains(Role::Admin));
        assert!(roles.intersects(Role::Auditor.into()) && !roles.intersects(Role::Operator.into()) && !roles.intersects(Roles::NONE));
        assert!(Roles::from(Role::Issuer).is_within(roles) && !roles.is_within(Role::Issuer.into()) && Roles::NONE.is_within(roles));
        assert!(Roles::NONE.is_empty() && !roles.is_empty());
    }
}

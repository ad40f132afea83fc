//! On whose behalf something is done: the same for HTTP and command line.

use std::net::IpAddr;

use credence_ledger::event::Origination;
use credence_ledger::vault::{ApiKey, Role};
use uuid::Uuid;

/// The holder of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The key's id.
    pub key: Uuid,
    /// What it may do.
    pub role: Role,
    /// The issuer it acts for.
    pub issuer: Uuid,
}

impl Principal {
    /// As it stands in events: `key/<uuid>`.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("key/{}", self.key)
    }

    /// Whether it may do what `roles` may. An admin may do all that issuer and auditor may.
    #[must_use]
    pub fn is_any_of(&self, roles: &[Role]) -> bool {
        self.role == Role::Admin || roles.contains(&self.role)
    }

    /// Whether credentials of `issuer` are its to know of: an issuer's key knows its own only.
    #[must_use]
    pub fn may_know_of(&self, issuer: Uuid) -> bool {
        self.role != Role::Issuer || self.issuer == issuer
    }
}

impl From<&ApiKey> for Principal {
    fn from(key: &ApiKey) -> Principal {
        Principal { key: key.id, role: key.role, issuer: key.issuer }
    }
}

/// One request, or one command, as far as events tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who; `None` is anonymous.
    pub principal: Option<Principal>,
    /// Whether it is whoever runs this service, at the command line: `system` in events.
    pub is_operator: bool,
    /// Where from. Personal: it reaches the audit log sealed.
    pub address: Option<IpAddr>,
    /// With which program. Personal: it reaches the audit log sealed.
    pub user_agent: Option<String>,
    /// The request's `X-Request-Id`; empty for a command.
    pub request_id: String,
    /// W3C Trace Context's trace-id.
    pub trace_id: Option<String>,
    /// The route's template or the command, such as `GET /v1/credentials/{id}`.
    pub via: String,
}

impl Caller {
    /// Whoever runs this service, at the command line, with the command `via`.
    #[must_use]
    pub fn operator(via: &str) -> Caller {
        Caller {
            principal: None,
            is_operator: true,
            address: None,
            user_agent: None,
            request_id: String::new(),
            trace_id: None,
            via: via.to_owned(),
        }
    }

    /// As it stands in events: `anonymous`, `system` or `key/<uuid>`.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.principal {
            Some(principal) => principal.actor(),
            None if self.is_operator => "system".to_owned(),
            None => "anonymous".to_owned(),
        }
    }

    /// What every event of this request shares.
    #[must_use]
    pub fn origination(&self, worker: &str) -> Origination {
        Origination {
            actor: self.actor(),
            worker: worker.to_owned(),
            trace_id: self.trace_id.clone(),
            request_id: Some(self.request_id.clone()).filter(|id| !id.is_empty()),
        }
    }
}

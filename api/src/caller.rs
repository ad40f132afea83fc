//! On whose behalf something is done: the same for HTTP and command line.

use std::net::IpAddr;
use std::sync::Arc;

use credence_ledger::event::Origination;
use credence_ledger::vault::{ApiKey, Role, Roles, Session};
use uuid::Uuid;

/// Who is known by what it presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The holder of an API key.
    Key(Uuid),
    /// The owner of an account, in one of its sessions.
    Account {
        /// The account.
        id: Uuid,
        /// The session.
        session: Uuid,
    },
    /// Whoever an identity provider knows, by an id that tells nobody who it is.
    External(Uuid),
}

/// Somebody known, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub who: Who,
    /// What it may do.
    pub roles: Roles,
    /// The organisation it acts for.
    pub issuer: Uuid,
    /// The only types of credentials that it issues and changes; `None` is all.
    pub types: Option<Arc<[String]>>,
}

/// The roles that reach over all organisations.
const EVERYWHERE: Roles = Roles::of(&[Role::Inspector, Role::Operator]);

impl Principal {
    /// As it stands in events: `key/<uuid>`, `account/<uuid>` or `external/<uuid>`.
    #[must_use]
    pub fn actor(&self) -> String {
        match self.who {
            Who::Key(id) => format!("key/{id}"),
            Who::Account { id, .. } => format!("account/{id}"),
            Who::External(id) => format!("external/{id}"),
        }
    }

    /// The account and the session, of its owner.
    #[must_use]
    pub fn session(&self) -> Option<(Uuid, Uuid)> {
        match self.who {
            Who::Account { id, session } => Some((id, session)),
            Who::Key(_) | Who::External(_) => None,
        }
    }

    /// Whether it reads what is any organisation's.
    #[must_use]
    pub fn sees_everything(&self) -> bool {
        self.roles.intersects(EVERYWHERE)
    }

    /// Whether what is the organisation `issuer`'s is its to know of.
    #[must_use]
    pub fn may_know_of(&self, issuer: Uuid) -> bool {
        self.issuer == issuer || self.sees_everything()
    }

    /// Whether what is the organisation `issuer`'s is its to change, as far as its roles go: to inspect another one is not to run it.
    #[must_use]
    pub fn acts_for(&self, issuer: Uuid) -> bool {
        self.issuer == issuer || self.roles.contains(Role::Operator)
    }

    /// Whether it may issue and change credentials of that type.
    #[must_use]
    pub fn may_issue(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.iter().any(|each| each == kind))
    }
}

impl From<&ApiKey> for Principal {
    fn from(key: &ApiKey) -> Principal {
        Principal { who: Who::Key(key.id), roles: key.terms.roles, issuer: key.terms.issuer, types: key.terms.types.clone() }
    }
}

impl From<&Session> for Principal {
    fn from(session: &Session) -> Principal {
        let who = Who::Account { id: session.account, session: session.id };
        Principal { who, roles: session.roles, issuer: session.issuer, types: None }
    }
}

/// One request, or one command, as far as events tell of it. Its texts are shared: it is handed from layer to layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who; `None` is anonymous.
    pub principal: Option<Principal>,
    /// Whether it is whoever runs this service, at the command line: `system` in events.
    pub is_operator: bool,
    /// Where from. Personal: it reaches the audit log sealed.
    pub address: Option<IpAddr>,
    /// With which program. Personal: it reaches the audit log sealed.
    pub user_agent: Option<Arc<str>>,
    /// The request's `X-Request-Id`; empty for a command.
    pub request_id: Arc<str>,
    /// W3C Trace Context's trace-id.
    pub trace_id: Option<Arc<str>>,
    /// The route's template or the command, such as `GET /v1/credentials/{id}`.
    pub via: Arc<str>,
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
            request_id: Arc::from(""),
            trace_id: None,
            via: Arc::from(via),
        }
    }

    /// As it stands in events: `anonymous`, `system`, or as a principal's does.
    #[must_use]
    pub fn actor(&self) -> String {
        match &self.principal {
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
            trace_id: self.trace_id.as_deref().map(str::to_owned),
            request_id: Some(self.request_id.to_string()).filter(|id| !id.is_empty()),
        }
    }
}

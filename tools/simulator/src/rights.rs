//! Who a client is on its connection, and what that lets it do (client-protocol.md §15).

use proto::acl::perms;
use proto::{Acl, Id};
use tree::model::State;

use crate::wire::Ask;

/// Names with which clients may come, each with what its digest is in an ACL.
const USERS: [(&str, &str); 2] =
    [("anna:anna", "anna:hKsX+/AbOWTlUelrlygV3clp1bs="), ("bert:bert", "bert:aeRGm7rRhPPZqsqJNKq3WjaW5mM=")];

/// See the module's page.
#[derive(Clone, Default, Debug)]
pub struct Rights {
    /// One of the users, if it says who it is.
    user: Option<usize>,
    /// It may do everything.
    operator: bool,
}

/// Who may do everything: as it says who it is, and as servers know it.
const OPERATOR: (&str, &str) = ("super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");

/// `DigestAuthenticationProvider.superDigest`, for servers.
pub fn super_digest() -> String {
    OPERATOR.1.to_owned()
}

impl Rights {
    /// Of the client that an operator uses.
    pub fn of_operator() -> Rights {
        Rights { user: None, operator: true }
    }

    /// Is it an operator's?
    pub fn is_operator(&self) -> bool {
        self.operator
    }

    /// Of a client that says who it is, or does not.
    pub fn of(user: Option<usize>) -> Rights {
        Rights { user: user.map(|user| user % USERS.len()), operator: false }
    }

    /// What the client says of itself when it connects.
    pub fn introduction(&self) -> Option<Ask> {
        let name = if self.operator { Some(OPERATOR.0) } else { self.user.map(|user| USERS[user].0) };
        name.map(|name| Ask::Auth(name.to_owned()))
    }

    /// Does an ACL let it read?
    pub fn may_read(&self, acl: &[Acl]) -> bool {
        self.may(acl, perms::READ)
    }

    /// Does it give one of these rights?
    pub fn may(&self, acl: &[Acl], wanted: i32) -> bool {
        let is_me = |id: &Id| match id.scheme.as_str() {
            "world" => true,
            "digest" => self.user.is_some_and(|user| id.id == USERS[user].1),
            _ => false,
        };
        self.operator || acl.iter().any(|entry| entry.perms & wanted != 0 && is_me(&entry.id))
    }

    /// Whether it may do this in a state, as far as one znode's ACL decides that.
    pub fn allow(&self, ask: &Ask, state: &State) -> Option<bool> {
        let (path, wanted) = match ask {
            Ask::Create(path, ..) | Ask::CreateTtl(path, _) => (proto::path::parent(path), perms::CREATE),
            Ask::Delete(path, _) => (proto::path::parent(path), perms::DELETE),
            Ask::Set(path, ..) => (path.as_str(), perms::WRITE),
            Ask::SetAcl(path, ..) => (path.as_str(), perms::ADMIN),
            _ => return None,
        };
        state.znodes.get(path).map(|znode| self.may(&znode.acl, wanted))
    }

    /// An ACL as getACL shows it: who may not set it does not see digests.
    pub fn shown(&self, acl: &[Acl]) -> Vec<Acl> {
        let mut acl = acl.to_vec();
        if !self.may(&acl, perms::ADMIN) {
            for entry in acl.iter_mut().filter(|entry| entry.id.scheme == "digest") {
                let user = entry.id.id.split(':').next().unwrap_or_default();
                entry.id.id = format!("{user}:x");
            }
        }
        acl
    }
}

/// Some ACL; most let everybody do everything.
pub fn acl(number: u64) -> Vec<Acl> {
    let one = |perms, scheme: &str, id: &str| Acl { perms, id: Id::new(scheme, id) };
    let user = |number: u64| one(perms::ALL, "digest", USERS[number as usize % USERS.len()].1);
    match number % 8 {
        0 => vec![user(number / 8)],
        1 => vec![user(number / 8), one(perms::READ, "world", "anyone")],
        2 => vec![user(0), user(1)],
        3 => vec![one(perms::ALL & !perms::READ, "world", "anyone"), one(perms::READ, "digest", USERS[0].1)],
        _ => vec![Acl::open()],
    }
}

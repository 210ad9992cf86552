//! Who a client is, and what an ACL lets it do (client-protocol.md §15).
//!
//! [`Auth`] is built once from plain settings and never changes. A connection owns its list of [`Id`]s: it starts as
//! [`Auth::initial_ids`] and grows by [`Auth::authenticate`]. Every other question is a pure function of an ACL and such a
//! list. Always true here: an id is in a list at most once, and nothing but a scheme's own rule makes an entry match.
//! Not here: sockets, certificates, the SASL exchange, and where ACLs are kept.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use proto::acl::RawAcl;
use proto::jute::java_string;
use proto::{Acl, Code, Id};

mod digest;
mod ip;
mod sasl;

pub use digest::{Algorithm, generate as digest_id};

/// The most ids that one connection may collect; the packet that would exceed it fails.
pub const IDS_MAX: usize = 1024;

/// What an operator decides, as plain values (config-and-ops.md §2.4). The default is ZooKeeper's: `ip` and `digest` exist,
/// nobody is super, ACLs count, and nothing is enforced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `zookeeper.skipACL=yes`: every permission check succeeds. ACLs that are written must be well-formed all the same.
    pub skip_acl: bool,
    /// `zookeeper.DigestAuthenticationProvider.enabled`: does the scheme `digest` exist?
    pub digest_enabled: bool,
    /// `zookeeper.DigestAuthenticationProvider.digestAlg`: name of the hash, as the JDK spells it.
    pub digest_alg: String,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: the id, `super:<hash>`, that makes its owner super.
    pub super_digest: Option<String>,
    /// Is Java's `SASLAuthenticationProvider` named by a `zookeeper.authProvider.*` key? The scheme `sasl` exists only then.
    pub sasl: bool,
    /// `zookeeper.letAnySaslUserDoX`: the id of a `sasl` entry that every SASL user satisfies.
    pub let_any_sasl_user_do: Option<String>,
    /// Is Java's `EnsembleAuthenticationProvider` named by a `zookeeper.authProvider.*` key? The scheme `ensemble` exists only then.
    pub ensemble: bool,
    /// `zookeeper.ensembleAuthName`: comma-separated names of this ensemble; `None` accepts every name.
    pub ensemble_names: Option<String>,
    /// `zookeeper.enforce.auth.enabled` (or `sessionRequireClientSASLAuth`): must clients authenticate before they ask?
    pub enforce: bool,
    /// `zookeeper.enforce.auth.schemes`: by one of these schemes (`sasl` for `sessionRequireClientSASLAuth`).
    pub enforce_schemes: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            skip_acl: false,
            digest_enabled: true,
            digest_alg: "SHA1".to_owned(),
            super_digest: None,
            sasl: false,
            let_any_sasl_user_do: None,
            ensemble: false,
            ensemble_names: None,
            enforce: false,
            enforce_schemes: Vec::new(),
        }
    }
}

/// Why settings cannot be used; the server must not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such hash.
    #[error("zookeeper.DigestAuthenticationProvider.digestAlg: {0:?} is not a known digest algorithm")]
    DigestAlgorithm(String),
    /// Enforcement without anything to enforce.
    #[error("zookeeper.enforce.auth.enabled is true, so zookeeper.enforce.auth.schemes must name at least one scheme")]
    NoScheme,
    /// Enforcement of a scheme that does not exist here.
    #[error("zookeeper.enforce.auth.schemes: the authentication scheme {0:?} is not available")]
    UnknownScheme(String),
}

/// What an auth packet leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answer with a header: zxid 0, no error.
    Ok,
    /// Answer AUTHFAILED with zxid 0, then close.
    Failed,
    /// Close without an answer: the client talks to the wrong ensemble.
    CloseNow,
}

/// The rules of one server. See the crate's page.
#[derive(Clone, Debug)]
pub struct Auth {
    settings: Settings,
    algorithm: Algorithm,
    ensemble_names: Option<Vec<String>>,
}

/// Schemes that can exist. Java registers `ip` and `digest` by itself and all others only on request; `world`, `auth` and
/// `super` are never providers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Provider {
    Ip,
    Digest,
    Sasl,
    Ensemble,
}

impl Auth {
    /// Checks settings and makes the rules.
    pub fn new(settings: Settings) -> Result<Auth, SettingsError> {
        let algorithm = match Algorithm::from_name(&settings.digest_alg) {
            Some(algorithm) => algorithm,
            // Java looks the algorithm up when the provider is made, thus not at all when it is switched off.
            None if !settings.digest_enabled => Algorithm::default(),
            None => return Err(SettingsError::DigestAlgorithm(settings.digest_alg)),
        };
        let ensemble_names =
            settings.ensemble_names.as_ref().map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
        let auth = Auth { settings, algorithm, ensemble_names };
        if auth.settings.enforce {
            if auth.settings.enforce_schemes.is_empty() {
                return Err(SettingsError::NoScheme);
            }
            if let Some(scheme) = auth.settings.enforce_schemes.iter().find(|s| auth.provider(s).is_none()) {
                return Err(SettingsError::UnknownScheme(scheme.clone()));
            }
        }
        Ok(auth)
    }

    /// Do these ids have at least one of the `wanted` permission bits under this ACL (§15.2)?
    pub fn allows(&self, acl: &[Acl], wanted: i32, ids: &[Id]) -> bool {
        if self.settings.skip_acl || acl.is_empty() {
            return true;
        }
        // A super id passes whatever the ACL says; an open ACL is the common case and is looked at first.
        acl.iter().any(|entry| entry.perms & wanted != 0 && self.entry_matches(entry, ids))
            || ids.iter().any(|id| id.scheme == "super")
    }

    /// The ACL to store for one that a client sent with create or setACL (§15.4). Fails with INVALIDACL, or with
    /// MARSHALLINGERROR where an id is null that its scheme would look at, or if the list would take more than `bytes_max` in a
    /// record. `auth` stands for all that a connection has proved to be, and there may be as many such entries as fit a packet.
    pub fn fix_up(&self, acl: Option<&[RawAcl]>, ids: &[Id], bytes_max: usize) -> Result<Vec<Acl>, Code> {
        let acl = acl.unwrap_or_default();
        if acl.is_empty() {
            return Err(Code::InvalidAcl);
        }
        let mut fixed = Vec::with_capacity(acl.len());
        let mut room = bytes_max;
        let mut add = |fixed: &mut Vec<Acl>, perms, id| {
            let entry = Acl { perms, id };
            room = room.checked_sub(entry.encoded_bytes()).ok_or(Code::MarshallingError)?;
            fixed.push(entry);
            Ok(())
        };
        let mut seen = BTreeSet::new();
        for raw in acl {
            if acl.len() > 1 && !seen.insert((raw.perms, &raw.scheme, &raw.id)) {
                continue;
            }
            let scheme = raw.scheme.as_deref().ok_or(Code::InvalidAcl)?;
            match scheme {
                "world" => match raw.id.as_deref() {
                    Some("anyone") => add(&mut fixed, raw.perms, Id::new("world", "anyone"))?,
                    Some(_) => return Err(Code::InvalidAcl),
                    None => return Err(Code::MarshallingError),
                },
                "auth" => {
                    let before = fixed.len();
                    for id in ids.iter().filter(|id| self.is_authenticated(&id.scheme)) {
                        add(&mut fixed, raw.perms, id.clone())?;
                    }
                    if fixed.len() == before {
                        return Err(Code::InvalidAcl);
                    }
                }
                _ => {
                    let provider = self.provider(scheme).ok_or(Code::InvalidAcl)?;
                    if !self.is_valid(provider, raw.id.as_deref())? {
                        return Err(Code::InvalidAcl);
                    }
                    let id = raw.id.as_deref().unwrap_or_default();
                    add(&mut fixed, raw.perms, Id::new(scheme, id))?;
                }
            }
        }
        Ok(fixed)
    }

    /// Handles an auth packet: adds the ids that it proves to `ids`. Null data proves nothing to `digest`, empty data does.
    pub fn authenticate(&self, scheme: &str, data: Option<&[u8]>, ids: &mut Vec<Id>) -> Outcome {
        match self.provider(scheme) {
            // The address was added when the connection began.
            Some(Provider::Ip) => Outcome::Ok,
            Some(Provider::Digest) => {
                let Some(data) = data else { return Outcome::Failed };
                let id = digest::generate(self.algorithm, &java_string(data));
                let is_super = self.settings.super_digest.as_ref() == Some(&id);
                if is_super && !add(ids, Id::new("super", "")) || !add(ids, Id::new("digest", id)) {
                    return Outcome::Failed;
                }
                Outcome::Ok
            }
            Some(Provider::Ensemble) => match (&self.ensemble_names, data) {
                (Some(names), Some(data)) if !data.is_empty() => {
                    let name = java_string(data);
                    if names.iter().any(|known| *known == name) { Outcome::Ok } else { Outcome::CloseNow }
                }
                _ => Outcome::Ok,
            },
            // SASL has its own packets.
            Some(Provider::Sasl) | None => Outcome::Failed,
        }
    }

    /// The ids of a new connection from this address.
    pub fn initial_ids(&self, remote: IpAddr) -> Vec<Id> {
        vec![Id::new("ip", ip::text(remote))]
    }

    /// What whoAmI answers: scheme and user of each id. Passwords stay hidden; the user is empty where the scheme has no
    /// provider (`super`).
    pub fn who_am_i<'a>(&self, ids: &'a [Id]) -> Vec<(&'a str, &'a str)> {
        ids.iter().map(|id| (id.scheme.as_str(), self.user(id).unwrap_or_default())).collect()
    }

    /// The user as the audit log names it: the users of all ids whose scheme has a provider, joined by commas.
    pub fn audit_user(&self, ids: &[Id]) -> String {
        ids.iter().filter_map(|id| self.user(id)).collect::<Vec<_>>().join(",")
    }

    /// May a connection with these ids ask anything but auth and sasl? If not, it is answered −124 with zxid 0 and closed.
    pub fn enforced(&self, ids: &[Id]) -> bool {
        !self.settings.enforce || ids.iter().any(|id| self.settings.enforce_schemes.contains(&id.scheme))
    }

    fn provider(&self, scheme: &str) -> Option<Provider> {
        match scheme {
            "ip" => Some(Provider::Ip),
            "digest" if self.settings.digest_enabled => Some(Provider::Digest),
            "sasl" if self.settings.sasl => Some(Provider::Sasl),
            "ensemble" if self.settings.ensemble => Some(Provider::Ensemble),
            _ => None,
        }
    }

    /// Does an id of this scheme prove who somebody is, so that `auth` expands to it?
    fn is_authenticated(&self, scheme: &str) -> bool {
        matches!(self.provider(scheme), Some(Provider::Digest | Provider::Sasl))
    }

    fn is_valid(&self, provider: Provider, id: Option<&str>) -> Result<bool, Code> {
        if provider == Provider::Ensemble {
            return Ok(false);
        }
        let id = id.ok_or(Code::MarshallingError)?;
        Ok(match provider {
            Provider::Ip => ip::is_valid(id),
            Provider::Digest => digest::is_valid(id),
            Provider::Sasl => sasl::is_valid(id),
            Provider::Ensemble => false,
        })
    }

    fn entry_matches(&self, entry: &Acl, ids: &[Id]) -> bool {
        let Id { scheme, id } = &entry.id;
        if scheme == "world" && id == "anyone" {
            return true;
        }
        let Some(provider) = self.provider(scheme) else { return false };
        let mut callers = ids.iter().filter(|caller| caller.scheme == *scheme);
        callers.any(|caller| match provider {
            Provider::Ip => ip::matches(&caller.id, id),
            Provider::Digest => caller.id == *id,
            Provider::Sasl => sasl::matches(&caller.id, id, self.settings.let_any_sasl_user_do.as_deref()),
            Provider::Ensemble => false,
        })
    }

    fn user<'a>(&self, id: &'a Id) -> Option<&'a str> {
        self.provider(&id.scheme).map(|provider| match provider {
            Provider::Digest => digest::user(&id.id),
            _ => id.id.as_str(),
        })
    }
}

/// Is this exactly the ACL that nearly every request carries, `world:anyone` with all permissions? A caller that knows
/// where that ACL is kept need not fix it up.
pub fn is_open(acl: Option<&[RawAcl]>) -> bool {
    matches!(acl, Some([RawAcl { perms: proto::perms::ALL, scheme: Some(scheme), id: Some(id) }])
        if scheme == "world" && id == "anyone")
}

/// The ACL as getACL shows it to a caller without ADMIN: digests are replaced by `x`.
pub fn mask_digest_ids(acl: &[Acl]) -> Vec<Acl> {
    let mask = |id: &Id| {
        if id.scheme == "digest" { Id::new("digest", digest::masked(&id.id)) } else { id.clone() }
    };
    acl.iter().map(|entry| Acl { perms: entry.perms, id: mask(&entry.id) }).collect()
}

/// Adds an id unless it is there already; false when there are too many.
fn add(ids: &mut Vec<Id>, id: Id) -> bool {
    if ids.contains(&id) {
        return true;
    }
    if ids.len() >= IDS_MAX {
        return false;
    }
    ids.push(id);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::perms;

    fn raw(perms: i32, scheme: impl Into<Option<&'static str>>, id: impl Into<Option<&'static str>>) -> RawAcl {
        RawAcl { perms, scheme: scheme.into().map(str::to_owned), id: id.into().map(str::to_owned) }
    }

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    fn plain() -> Auth {
        Auth::new(Settings::default()).unwrap()
    }

    fn me() -> Vec<Id> {
        vec![
            Id::new("ip", "127.0.0.1"),
            Id::new("digest", "u:h"),
            Id::new("super", ""),
            Id::new("sasl", "bob"),
            Id::new("digest", "v:h"),
        ]
    }

    /// Every outcome here was captured from `PrepRequestProcessor.fixupACL` of 3.9.5 with the ids of `me`.
    /// More than any list here takes.
    const ROOM: usize = 1 << 20;

    #[test]
    fn fix_up_decides_as_java_does() {
        let fix = |scheme: Option<&'static str>, id: Option<&'static str>| {
            plain().fix_up(Some(&[raw(31, scheme, id)]), &me(), ROOM)
        };
        let expanded = || Ok(vec![acl(31, "digest", "u:h"), acl(31, "digest", "v:h")]);
        assert_eq!(plain().fix_up(None, &me(), ROOM), Err(Code::InvalidAcl));
        assert_eq!(plain().fix_up(Some(&[]), &me(), ROOM), Err(Code::InvalidAcl));
        assert_eq!(fix(Some("world"), Some("anyone")), Ok(vec![Acl::open()]));
        assert_eq!(fix(Some("auth"), None), expanded());
        assert_eq!(fix(Some("auth"), Some("")), expanded());
        assert_eq!(fix(Some("auth"), Some("x")), expanded());
        assert_eq!(fix(Some("digest"), Some("a:b")), Ok(vec![acl(31, "digest", "a:b")]));
        assert_eq!(fix(Some("ip"), Some("1.2.3.4/8")), Ok(vec![acl(31, "ip", "1.2.3.4/8")]));
        for scheme in ["world", "digest", "ip"] {
            assert_eq!(fix(Some(scheme), None), Err(Code::MarshallingError), "{scheme}");
        }
        let refused = [
            (Some("world"), Some("me")),
            (None, Some("x")),
            (Some("super"), Some("")),
            (Some("digest"), Some("a")),
            (Some("sasl"), Some("bob")),
            (Some("x509"), Some("CN=a")),
            (Some(""), Some("x")),
            (Some("ensemble"), Some("x")),
            (Some("World"), Some("anyone")),
        ];
        for (scheme, id) in refused {
            assert_eq!(fix(scheme, id), Err(Code::InvalidAcl), "{scheme:?}:{id:?}");
        }
        assert_eq!(plain().fix_up(Some(&[raw(31, "auth", "")]), &me()[..1], ROOM), Err(Code::InvalidAcl));
    }

    #[test]
    fn duplicates_go_before_auth_is_expanded_and_not_after() {
        let sent = [
            raw(1, "world", "anyone"),
            raw(31, "auth", ""),
            raw(1, "world", "anyone"),
            raw(31, "digest", "u:h"),
            raw(31, "auth", "x"),
            raw(-1, "world", "anyone"),
        ];
        let stored = [
            acl(1, "world", "anyone"),
            acl(31, "digest", "u:h"),
            acl(31, "digest", "v:h"),
            acl(31, "digest", "u:h"),
            acl(31, "digest", "u:h"),
            acl(31, "digest", "v:h"),
            acl(-1, "world", "anyone"),
        ];
        assert_eq!(plain().fix_up(Some(&sent), &me(), ROOM), Ok(stored.to_vec()));
    }

    /// Captured from `ZooKeeperServer.checkACL` of 3.9.5.
    #[test]
    fn permissions_are_decided_as_java_does() {
        let me = me();
        let auth = plain();
        assert!(auth.allows(&[], 4, &me[..1]), "an empty ACL forbids nothing");
        assert!(auth.allows(&[acl(1, "world", "anyone")], 17, &me[..1]), "one common bit is enough");
        assert!(auth.allows(&[acl(0, "world", "anyone")], 4, &me[2..3]), "super passes");
        assert!(!auth.allows(&[acl(1, "world", "anyone")], 4, &me[..2]));
        assert!(auth.allows(&[acl(4, "digest", "u:h")], 4, &me[..2]));
        assert!(!auth.allows(&[acl(4, "sasl", "bob")], 4, &me[3..4]), "sasl is not registered by default");
        assert!(auth.allows(&[acl(4, "ip", "127.0.0.0/8")], 4, &me[..2]));
        assert!(!auth.allows(&[acl(31, "world", "anyone")], 0, &me[..2]));
        assert!(auth.allows(&[acl(4, "ip", "x"), acl(4, "world", "anyone")], 4, &me[..2]));
        assert!(!auth.allows(&[acl(4, "digest", "u:h")], 4, &me[..1]));
        let lax = Auth::new(Settings { skip_acl: true, ..Settings::default() }).unwrap();
        assert!(lax.allows(&[acl(1, "digest", "u:h")], 4, &[]));
    }

    #[test]
    fn the_super_digest_adds_the_super_id_once() {
        let settings =
            Settings { super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned()), ..Settings::default() };
        let auth = Auth::new(settings).unwrap();
        let mut ids = auth.initial_ids("::1".parse().unwrap());
        assert_eq!(auth.authenticate("digest", Some(b"super:test"), &mut ids), Outcome::Ok);
        assert_eq!(auth.authenticate("digest", Some(b"super:test"), &mut ids), Outcome::Ok);
        assert_eq!(auth.authenticate("digest", Some(b"super:wrong"), &mut ids), Outcome::Ok);
        assert_eq!(auth.authenticate("ip", Some(b"whatever"), &mut ids), Outcome::Ok);
        assert_eq!(
            auth.who_am_i(&ids),
            [("ip", "0:0:0:0:0:0:0:1"), ("super", ""), ("digest", "super"), ("digest", "super")]
        );
        assert_eq!(auth.audit_user(&ids), "0:0:0:0:0:0:0:1,super,super");
        assert!(auth.allows(&[acl(perms::READ, "digest", "x:y")], perms::ADMIN, &ids));
    }

    #[test]
    fn unknown_schemes_fail() {
        let mut ids = Vec::new();
        for scheme in ["", "world", "auth", "super", "sasl", "x509", "ensemble", "key"] {
            assert_eq!(plain().authenticate(scheme, Some(b"a:b"), &mut ids), Outcome::Failed, "{scheme}");
        }
        let off = Auth::new(Settings { digest_enabled: false, ..Settings::default() }).unwrap();
        assert_eq!(off.authenticate("digest", Some(b"a:b"), &mut ids), Outcome::Failed);
        assert_eq!(off.fix_up(Some(&[raw(31, "digest", "a:b")]), &[], ROOM), Err(Code::InvalidAcl));
        assert!(!off.allows(&[acl(31, "digest", "a:b")], 1, &[Id::new("digest", "a:b")]));
        assert!(ids.is_empty());
    }

    #[test]
    fn the_wrong_ensemble_name_closes_without_an_answer() {
        let named = |names: Option<&str>| {
            let settings = Settings { ensemble: true, ensemble_names: names.map(str::to_owned), ..Settings::default() };
            Auth::new(settings).unwrap()
        };
        let mut ids = Vec::new();
        assert_eq!(named(Some("one, two")).authenticate("ensemble", Some(b"two"), &mut ids), Outcome::Ok);
        assert_eq!(named(Some("one, two")).authenticate("ensemble", Some(b""), &mut ids), Outcome::Ok);
        assert_eq!(named(Some("one, two")).authenticate("ensemble", Some(b"three"), &mut ids), Outcome::CloseNow);
        assert_eq!(named(None).authenticate("ensemble", Some(b"three"), &mut ids), Outcome::Ok);
        assert!(ids.is_empty());
    }

    #[test]
    fn enforcement_wants_one_of_its_schemes() {
        let settings = Settings {
            enforce: true,
            enforce_schemes: vec!["digest".to_owned(), "sasl".to_owned()],
            sasl: true,
            ..Settings::default()
        };
        let auth = Auth::new(settings.clone()).unwrap();
        assert!(!auth.enforced(&me()[..1]));
        assert!(auth.enforced(&me()[..2]));
        assert!(plain().enforced(&[]));
        let without = Settings { enforce_schemes: Vec::new(), ..settings.clone() };
        assert_eq!(Auth::new(without).unwrap_err(), SettingsError::NoScheme);
        let unknown = Settings { sasl: false, ..settings };
        assert_eq!(Auth::new(unknown).unwrap_err(), SettingsError::UnknownScheme("sasl".to_owned()));
    }

    #[test]
    fn an_unknown_digest_algorithm_is_refused_at_start() {
        let settings = Settings { digest_alg: "nonsense".to_owned(), ..Settings::default() };
        assert!(matches!(Auth::new(settings.clone()), Err(SettingsError::DigestAlgorithm(_))));
        assert!(Auth::new(Settings { digest_enabled: false, ..settings }).is_ok());
    }

    #[test]
    fn ids_of_one_connection_are_bounded() {
        let mut ids = Vec::new();
        for n in 0..IDS_MAX {
            assert_eq!(plain().authenticate("digest", Some(format!("u{n}:p").as_bytes()), &mut ids), Outcome::Ok);
        }
        assert_eq!(plain().authenticate("digest", Some(b"one:more"), &mut ids), Outcome::Failed);
        assert_eq!(plain().authenticate("digest", Some(b"u0:p"), &mut ids), Outcome::Ok);
        assert_eq!(ids.len(), IDS_MAX);
    }

    /// Found while fuzzing: a packet of 65,536 entries, expanded for 1,024 identities, took gigabytes before it was refused.
    #[test]
    fn an_acl_that_grows_beyond_a_record_is_refused_before_it_has_grown() {
        let ids: Vec<Id> = (0..IDS_MAX).map(|n| Id::new("digest", format!("user-{n}:secret"))).collect();
        let sent: Vec<RawAcl> = (0..60_000).map(|perms| raw(perms, "auth", "")).collect();
        assert_eq!(plain().fix_up(Some(&sent), &ids, ROOM), Err(Code::MarshallingError));
        let one = plain().fix_up(Some(&sent[..1]), &ids, ROOM).unwrap();
        let bytes = one.iter().map(Acl::encoded_bytes).sum();
        assert_eq!(plain().fix_up(Some(&sent[..1]), &ids, bytes), Ok(one));
        assert_eq!(plain().fix_up(Some(&sent[..1]), &ids, bytes - 1), Err(Code::MarshallingError));
    }

    #[test]
    fn only_the_open_acl_is_open() {
        assert!(is_open(Some(&[raw(31, "world", "anyone")])));
        assert!(!is_open(Some(&[raw(1, "world", "anyone")])));
        assert!(!is_open(Some(&[raw(31, "world", "anyone"), raw(31, "world", "anyone")])));
        assert!(!is_open(None));
    }

    #[test]
    fn digests_are_hidden_and_other_ids_are_not() {
        let shown = mask_digest_ids(&[acl(31, "digest", "u:secret"), acl(1, "ip", "::1")]);
        assert_eq!(shown, [acl(31, "digest", "u:x"), acl(1, "ip", "::1")]);
    }
}

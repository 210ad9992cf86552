//! Access rules: a byte of settings; a piece with an ACL as a client sends it; pieces of auth packets (`d`, `e`, `s`, `i` for the
//! schemes, then the data); pieces of ids that a tree may hold (`a`, then scheme, NUL, id).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use auth::{Auth, Outcome, Settings, is_open, mask_digest_ids};
use proto::acl::{ACL_BYTES_MIN, RawAcl};
use proto::{Acl, Id, Reader};

use crate::pieces::{pieces, tagged};

const BYTES_MAX: usize = 64 << 10;

/// Fuzz target.
pub fn auth(input: &[u8]) {
    let Some((tag, rest)) = tagged(input) else { return };
    let all = pieces(rest);
    let text = |piece: Option<&&[u8]>| piece.map(|piece| String::from_utf8_lossy(piece).into_owned());
    let settings = Settings {
        skip_acl: tag & 1 != 0,
        digest_enabled: tag & 2 == 0,
        digest_alg: ["SHA1", "MD5", "SHA-256", "SHA3-256"][usize::from(tag >> 2 & 3)].to_owned(),
        sasl: tag & 16 != 0,
        let_any_sasl_user_do: text(all.get(2)).filter(|_| tag & 32 != 0),
        ensemble: tag & 64 != 0,
        ensemble_names: text(all.get(3)),
        enforce: tag & 128 != 0,
        enforce_schemes: text(all.get(2)).into_iter().collect(),
        ..Settings::default()
    };
    // The name of an algorithm as an operator writes it.
    _ = Auth::new(Settings { digest_alg: text(all.last()).unwrap_or_default(), ..Settings::default() });
    let Ok(rules) = Auth::new(settings) else { return };

    let mut address = [0; 16];
    let bytes = all.last().copied().unwrap_or_default();
    let known = bytes.len().min(16);
    address[..known].copy_from_slice(&bytes[..known]);
    let remote = match bytes.len() {
        0..=4 => IpAddr::from(Ipv4Addr::new(address[0], address[1], address[2], address[3])),
        _ => IpAddr::from(Ipv6Addr::from(address)),
    };
    let mut ids = rules.initial_ids(remote);
    let mut held = Vec::new();
    for piece in all.iter().skip(1) {
        let Some((kind, data)) = tagged(piece) else { continue };
        let scheme = match kind {
            b'd' => "digest",
            b'e' => "ensemble",
            b's' => "sasl",
            b'i' => "ip",
            b'a' => {
                let text = String::from_utf8_lossy(data);
                let (scheme, id) = text.split_once('\0').unwrap_or(("ip", &text));
                held.push(Acl { perms: i32::from(tag & 31), id: Id::new(scheme, id) });
                ids.push(Id::new(scheme, id));
                continue;
            }
            _ => continue,
        };
        if rules.authenticate(scheme, (tag & 32 == 0 || !data.is_empty()).then_some(data), &mut ids)
            == Outcome::CloseNow
        {
            return;
        }
    }
    let raw: Option<Vec<RawAcl>> = Reader::new(all[0]).vector(ACL_BYTES_MIN).ok().flatten();
    is_open(raw.as_deref());
    if let Ok(fixed) = rules.fix_up(raw.as_deref(), &ids, BYTES_MAX) {
        assert!(fixed.iter().map(Acl::encoded_bytes).sum::<usize>() <= BYTES_MAX);
        held.extend(fixed);
    }
    for wanted in [1, 2, 4, 8, 16, 31] {
        rules.allows(&held, wanted, &ids);
    }
    assert_eq!(mask_digest_ids(&held).len(), held.len());
    assert_eq!(rules.who_am_i(&ids).len(), ids.len());
    rules.audit_user(&ids);
    rules.enforced(&ids);
}

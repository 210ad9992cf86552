//! For tests that play one side of a conversation: packets in one line, and bytes read back as such lines.
//!
//! A line is `KIND zxid [data in hexadecimal]`.

use pipeline::Now;
use proto::{Millis, Zxid};

use crate::effect::{Effect, LinkId};
use crate::packet::{self, Packet, kind};

const NAMES: [(i32, &str); 19] = [
    (kind::REQUEST, "REQUEST"),
    (kind::PROPOSAL, "PROPOSAL"),
    (kind::ACK, "ACK"),
    (kind::COMMIT, "COMMIT"),
    (kind::PING, "PING"),
    (kind::REVALIDATE, "REVALIDATE"),
    (kind::SYNC, "SYNC"),
    (kind::INFORM, "INFORM"),
    (kind::COMMITANDACTIVATE, "COMMITANDACTIVATE"),
    (kind::NEWLEADER, "NEWLEADER"),
    (kind::FOLLOWERINFO, "FOLLOWERINFO"),
    (kind::UPTODATE, "UPTODATE"),
    (kind::DIFF, "DIFF"),
    (kind::TRUNC, "TRUNC"),
    (kind::SNAP, "SNAP"),
    (kind::OBSERVERINFO, "OBSERVERINFO"),
    (kind::LEADERINFO, "LEADERINFO"),
    (kind::ACKEPOCH, "ACKEPOCH"),
    (kind::INFORMANDACTIVATE, "INFORMANDACTIVATE"),
];

/// A moment of the monotonic clock.
pub(crate) fn at(ms: i64) -> Now {
    Now { wall: Millis(1_700_000_000_000 + ms), mono: Millis(ms) }
}

/// The bytes of a packet without identities.
pub(crate) fn packet(kind: i32, zxid: Zxid, data: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    packet::put(&mut out, kind, zxid, data);
    out
}

/// Bytes as lines, without data.
pub(crate) fn lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((packet, size)) = Packet::take(bytes, 1 << 20).expect("packets") {
        let name = NAMES.iter().find(|(number, _)| *number == packet.kind).map_or("?", |(_, name)| name);
        let zxid = if packet.zxid.0 < 0 { packet.zxid.0.to_string() } else { packet.zxid.to_string() };
        lines.push(format!("{name} {zxid}"));
        bytes = &bytes[size..];
    }
    assert!(bytes.is_empty(), "part of a packet");
    lines
}

/// What was sent on a link, as lines; "closed" if it was closed.
pub(crate) fn sent(effects: &[Effect], link: LinkId) -> Vec<String> {
    let mut all = Vec::new();
    for effect in effects {
        match effect {
            Effect::Send { link: to, bytes } if *to == link => all.extend(lines(bytes)),
            Effect::Close(which) if *which == link => all.push("closed".to_owned()),
            _ => {}
        }
    }
    all
}

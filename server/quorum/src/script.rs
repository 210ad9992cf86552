//! For tests that play one side of a conversation: packets in one line, and bytes read back as such lines.
//!
//! A line is `KIND zxid [data in hexadecimal]`.

use pipeline::Now;
use proto::{Millis, Zxid};

use crate::effect::{Effect, LinkId};
use crate::packet::{self, Packet, kind};

const NAMES: [(i32, &str); 22] = [
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
    (kind::CASTING, "CASTING"),
    (kind::NEXT_EPOCH, "NEXT_EPOCH"),
    (kind::ENTER_EPOCH, "ENTER_EPOCH"),
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
        // A packet's type is followed by an epoch, which tests have in one byte; the count in a snapshot by a transaction's length, 40.
        let new_leader = bytes.starts_with(&kind::NEWLEADER.to_be_bytes()) && bytes.get(7) != Some(&40);
        if packet.kind == kind::SNAP && !new_leader {
            // A snapshot has no packets, and whatever follows it is not told.
            return lines;
        }
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

/// Noise from a seed: packets of every type with zxids and data near those that make sense, and now and then a wrong byte.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % end
    }

    /// A packet that may or may not fit; `likely` are types that are more frequent.
    pub(crate) fn packet(&mut self, likely: &[i32]) -> Vec<u8> {
        let kind = match self.below(4) {
            0 => self.below(21) as i32,
            _ => likely[self.below(likely.len() as u64) as usize],
        };
        let zxid = Zxid::new(self.below(9) as u32, self.below(6) as u32);
        let mut bytes = match self.below(6) {
            0 => packet(kind, zxid, None),
            1 => packet(kind, zxid, Some(&1i32.to_be_bytes())),
            2 => packet(kind, zxid, Some(&packet::PROTOCOL.to_be_bytes())),
            3 => packet(kind, zxid, Some(&vec![self.below(3) as u8; self.below(30) as usize])),
            _ => packet(kind, zxid, Some(&crate::memory::txn(zxid, self.below(3)))),
        };
        if self.below(30) == 0 {
            let at = self.below(bytes.len() as u64) as usize;
            bytes[at] = self.below(256) as u8;
        }
        bytes
    }
}

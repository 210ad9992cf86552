//! The bytes of the election port: who a connection's maker says it is, and what servers tell each other on it.
//!
//! Layouts: peer-protocol.md §2 and §3. What is written is what Java writes; the shorter forms of old servers are read as well. Decoding
//! is total: every length has its bound, and whatever is wrong is named. Kept out: what is done about it.

use proto::{Sid, Zxid};

use crate::effect::HostPort;
use crate::election::{Ballot, ServerState, Vote};
use crate::view::{bracketed, host, split_host};

/// The longest list of addresses that is taken.
pub const ADDRESS_BYTES_MAX: usize = 2048;
/// The longest message that is taken.
pub const MESSAGE_BYTES_MAX: usize = 524_288;
/// The id of an observer that has none.
pub const ANONYMOUS: Sid = Sid(i64::MAX);

const ONE_ADDRESS: i64 = -65536;
const SEVERAL_ADDRESSES: i64 = -65535;

/// The first message on a connection, from the server that made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Introduction {
    /// Who it is.
    pub sid: Sid,
    /// Where it listens for elections; empty if it does not say, or says "everywhere".
    pub addresses: Vec<HostPort>,
}

impl Introduction {
    /// As bytes, to be sent in one piece: Java takes what one read gives it. Only one address is sent unless `several`, which needs
    /// servers that have it switched on.
    pub fn encode(sid: Sid, addresses: &[HostPort], several: bool) -> Vec<u8> {
        let text = |place: &HostPort| format!("{}:{}", bracketed(&place.host), place.port);
        let list: Vec<String> = match (several, addresses) {
            // Taken as "everywhere": whoever reads it looks into its configuration.
            (_, []) => vec!["0.0.0.0:0".to_owned()],
            (true, all) => all.iter().map(text).collect(),
            (false, [first, ..]) => vec![text(first)],
        };
        let list = list.join("|");
        let mut bytes = Vec::with_capacity(20 + list.len());
        bytes.extend_from_slice(&(if several { SEVERAL_ADDRESSES } else { ONE_ADDRESS }).to_be_bytes());
        bytes.extend_from_slice(&sid.0.to_be_bytes());
        bytes.extend_from_slice(&(list.len() as i32).to_be_bytes());
        bytes.extend_from_slice(list.as_bytes());
        bytes
    }

    /// Reads it off the front of what has come so far, and says how long it was. `None`: more must come.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Introduction, usize)>, String> {
        let Some(first) = long(bytes, 0) else { return Ok(None) };
        if first >= 0 {
            // Servers before 3.5 send nothing but their id.
            return Ok(Some((Introduction { sid: Sid(first), addresses: Vec::new() }, 8)));
        }
        if first != ONE_ADDRESS && first != SEVERAL_ADDRESSES {
            return Err(format!("the first message has the unknown version {first}"));
        }
        let (Some(sid), Some(length)) = (long(bytes, 8), int(bytes, 16)) else { return Ok(None) };
        let length = usize::try_from(length).ok().filter(|length| (1..=ADDRESS_BYTES_MAX).contains(length));
        let Some(length) = length else {
            return Err("the first message has an address of an impossible length".to_owned());
        };
        let Some(text) = bytes.get(20..20 + length) else { return Ok(None) };
        let bad = || format!("the first message has the address {:?}", String::from_utf8_lossy(text));
        let mut addresses = Vec::new();
        for part in std::str::from_utf8(text).map_err(|_| bad())?.split('|') {
            let (name, port) = split_host(part).ok_or_else(bad)?;
            let place = HostPort { host: host(name).ok_or_else(bad)?, port: port.parse().map_err(|_| bad())? };
            if !is_everywhere(&place.host) {
                addresses.push(place);
            }
        }
        Ok(Some((Introduction { sid: Sid(sid), addresses }, 20 + length)))
    }
}

fn is_everywhere(host: &str) -> bool {
    host == "0.0.0.0" || host == "0:0:0:0:0:0:0:0"
}

/// What a server tells another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// What it does and whom it is for.
    pub ballot: Ballot,
    /// The text of its committed configuration; `None` from old servers.
    pub config: Option<String>,
}

/// A notification as bytes, the length before it included: version 2, which all servers since 3.5 write.
pub fn encode(ballot: &Ballot, config: &str) -> Vec<u8> {
    let state: i32 = match ballot.state {
        ServerState::Looking => 0,
        ServerState::Following => 1,
        ServerState::Leading => 2,
        ServerState::Observing => 3,
    };
    let length = 44 + config.len();
    let mut bytes = Vec::with_capacity(4 + length);
    bytes.extend_from_slice(&(length as i32).to_be_bytes());
    bytes.extend_from_slice(&state.to_be_bytes());
    bytes.extend_from_slice(&ballot.vote.leader.0.to_be_bytes());
    bytes.extend_from_slice(&ballot.vote.zxid.0.to_be_bytes());
    bytes.extend_from_slice(&ballot.vote.election_epoch.to_be_bytes());
    bytes.extend_from_slice(&ballot.vote.peer_epoch.to_be_bytes());
    bytes.extend_from_slice(&2i32.to_be_bytes());
    bytes.extend_from_slice(&(config.len() as i32).to_be_bytes());
    bytes.extend_from_slice(config.as_bytes());
    bytes
}

/// The length of the message that these bytes begin with, behind the four bytes that say so. `None`: more must come.
pub fn message_length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(length) = int(bytes, 0) else { return Ok(None) };
    match usize::try_from(length).ok().filter(|length| (1..=MESSAGE_BYTES_MAX).contains(length)) {
        Some(length) => Ok(Some(length)),
        None => Err(format!("a message of {length} bytes is announced")),
    }
}

/// Reads a notification, without the length before it.
pub fn decode(bytes: &[u8]) -> Result<Notification, String> {
    let short = || format!("a notification of {} bytes is too short", bytes.len());
    let state = match int(bytes, 0).ok_or_else(short)? {
        0 => ServerState::Looking,
        1 => ServerState::Following,
        2 => ServerState::Leading,
        3 => ServerState::Observing,
        other => return Err(format!("a notification has the unknown state {other}")),
    };
    let leader = Sid(long(bytes, 4).ok_or_else(short)?);
    let zxid = Zxid(long(bytes, 12).ok_or_else(short)?);
    let election_epoch = long(bytes, 20).ok_or_else(short)?;
    // 28 bytes: a server before 3.4 without the peer's epoch; 40: one without a version, whatever its last four bytes are.
    let peer_epoch = match bytes.len() {
        28 => zxid.0 >> 32,
        _ => long(bytes, 28).ok_or_else(short)?,
    };
    let version = match bytes.len() {
        28 | 40 => 0,
        _ => int(bytes, 36).ok_or_else(short)?,
    };
    let config = if version > 1 {
        let length = int(bytes, 40).ok_or_else(short)?;
        let config = usize::try_from(length).ok().and_then(|length| bytes.get(44..44usize.checked_add(length)?));
        let config = config.ok_or_else(|| format!("a notification of {} bytes has {length} of config", bytes.len()))?;
        // Before 3.8.5 and 3.9.4 it is in whatever the platform's character set was.
        Some(String::from_utf8_lossy(config).into_owned())
    } else {
        None
    };
    let vote = Vote { leader, zxid, election_epoch, peer_epoch };
    Ok(Notification { ballot: Ballot { state, vote, version }, config })
}

fn long(bytes: &[u8], at: usize) -> Option<i64> {
    bytes.get(at..at + 8).map(|eight| i64::from_be_bytes(eight.try_into().expect("eight bytes")))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4).map(|four| i32::from_be_bytes(four.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    fn ballot() -> Ballot {
        let vote = Vote { leader: Sid(3), zxid: Zxid(0x1_0000_0007), election_epoch: 4, peer_epoch: 1 };
        Ballot { state: ServerState::Following, vote, version: 2 }
    }

    #[test]
    fn an_introduction_reads_back_however_it_is_cut() {
        for (addresses, several) in [
            (vec![place("zk1", 3888)], false),
            (vec![place("0:0:0:0:0:0:0:1", 3888)], false),
            (vec![place("zk1", 3888), place("10.0.0.1", 3889)], true),
        ] {
            let bytes = Introduction::encode(Sid(7), &addresses, several);
            for cut in 0..bytes.len() {
                assert_eq!(Introduction::decode(&bytes[..cut]), Ok(None), "{cut}");
            }
            let mut more = bytes.clone();
            more.extend_from_slice(b"next");
            let introduction = Introduction { sid: Sid(7), addresses };
            assert_eq!(Introduction::decode(&more), Ok(Some((introduction, bytes.len()))));
        }
    }

    #[test]
    fn a_server_that_listens_everywhere_says_nothing_about_where_it_is() {
        for addresses in [vec![], vec![place("0.0.0.0", 3888)], vec![place("0:0:0:0:0:0:0:0", 3888)]] {
            let bytes = Introduction::encode(Sid(7), &addresses, false);
            let (introduction, _) = Introduction::decode(&bytes).expect("sound").expect("whole");
            assert_eq!(introduction.addresses, []);
        }
    }

    #[test]
    fn an_old_server_introduces_itself_by_its_id_alone() {
        let read = Introduction::decode(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 0]);
        assert_eq!(read, Ok(Some((Introduction { sid: Sid(5), addresses: vec![] }, 8))));
    }

    #[test]
    fn introductions_of_no_form_are_refused() {
        let with = |version: i64, length: i32, text: &[u8]| {
            [&version.to_be_bytes()[..], &7i64.to_be_bytes(), &length.to_be_bytes(), text].concat()
        };
        for (bytes, why) in [
            (with(-1, 8, b"zk1:3888"), "unknown version"),
            (with(i64::MIN, 8, b"zk1:3888"), "unknown version"),
            (with(ONE_ADDRESS, 0, b""), "impossible length"),
            (with(ONE_ADDRESS, -1, b""), "impossible length"),
            (with(ONE_ADDRESS, 2049, b""), "impossible length"),
            (with(ONE_ADDRESS, 3, b"zk1"), "address"),
            (with(ONE_ADDRESS, 6, b"zk1:-1"), "address"),
            (with(ONE_ADDRESS, 9, b"zk1:99999"), "address"),
            (with(ONE_ADDRESS, 6, b"z\xff1:38"), "address"),
            (with(SEVERAL_ADDRESSES, 9, b"zk1:3888|"), "address"),
        ] {
            let error = Introduction::decode(&bytes).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_notification_reads_back() {
        let bytes = encode(&ballot(), "server.1=a:1:2:participant\nversion=0");
        assert_eq!(message_length(&bytes), Ok(Some(bytes.len() - 4)));
        let read = decode(&bytes[4..]).expect("sound");
        let config = Some("server.1=a:1:2:participant\nversion=0".to_owned());
        assert_eq!(read, Notification { ballot: ballot(), config });
    }

    #[test]
    fn the_shorter_notifications_of_old_servers_are_read() {
        let whole = encode(&ballot(), "");
        let old = |bytes: &[u8]| decode(bytes).expect("sound");
        let ballot = Ballot { version: 0, ..ballot() };
        assert_eq!(old(&whole[4..32]), Notification { ballot, config: None }, "the epoch is the zxid's");
        assert_eq!(old(&whole[4..44]), Notification { ballot, config: None }, "the last four bytes mean nothing");
        let mut version_1 = whole[4..48].to_vec();
        version_1[39] = 1;
        assert_eq!(old(&version_1), Notification { ballot: Ballot { version: 1, ..ballot }, config: None });
    }

    #[test]
    fn notifications_of_no_form_are_refused() {
        let whole = encode(&ballot(), "version=0")[4..].to_vec();
        for length in (0..28).chain(29..40).chain(41..53) {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        let mut unknown = whole.clone();
        unknown[3] = 4;
        assert!(decode(&unknown).is_err_and(|error| error.contains("unknown state 4")));
        for length in [-1, i32::MIN, i32::MAX, 10] {
            let mut long = whole.clone();
            long[40..44].copy_from_slice(&length.to_be_bytes());
            assert!(decode(&long).is_err_and(|error| error.contains("of config")));
        }
        assert!(message_length(&[0, 8, 0, 1]).is_err() && message_length(&[0; 4]).is_err());
        assert_eq!(message_length(&[0, 8, 0, 0]), Ok(Some(MESSAGE_BYTES_MAX)));
        assert_eq!(message_length(&[0, 8, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Introduction::decode(&bytes);
            let _ = decode(&bytes);
            let mut introduction = ONE_ADDRESS.to_be_bytes().to_vec();
            introduction.extend_from_slice(&bytes);
            if let Ok(Some((_, length))) = Introduction::decode(&introduction) {
                prop_assert!(length <= introduction.len());
            }
        }

        #[test]
        fn every_notification_reads_back(
            leader: i64, zxid: i64, election_epoch: i64, peer_epoch: i64, state in 0..4, config in ".{0,40}",
        ) {
            use ServerState::*;
            let vote = Vote { leader: Sid(leader), zxid: Zxid(zxid), election_epoch, peer_epoch };
            let state = [Looking, Following, Leading, Observing][state as usize];
            let notification = Notification { ballot: Ballot { state, vote, version: 2 }, config: Some(config.clone()) };
            let bytes = encode(&notification.ballot, &config);
            prop_assert_eq!(message_length(&bytes), Ok(Some(bytes.len() - 4)));
            prop_assert_eq!(decode(&bytes[4..]), Ok(notification));
        }
    }
}

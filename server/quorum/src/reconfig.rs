//! Reconfiguration: from what an operator asks to the next configuration (client-protocol.md §9.7), and from a transaction to the
//! configuration that it carries (peer-protocol.md §10.3).

use std::collections::BTreeMap;

use proto::jute::Reader;
use proto::request::Reconfig;
use proto::{Code, Decode, Op, Sid, Txn, TxnHeader, Zxid, txn::decode_txn};

use crate::view::{Address, MemberAddress, MemberRole, QuorumView, Verifier, parse_server};

/// The configuration that is asked for, as the version that `zxid` makes it. `last_seen` is the newest one, final or not.
pub fn next_view(
    last_seen: &QuorumView,
    asked: &Reconfig<'_>,
    zxid: Zxid,
    voters_min: usize,
) -> Result<QuorumView, Code> {
    if asked.from != -1 && asked.from != last_seen.version() {
        return Err(Code::BadVersion);
    }
    let bad = |why: &str| {
        tracing::info!("a reconfiguration is refused: {why}");
        Code::BadArguments
    };
    let next = match &asked.members {
        Some(text) => QuorumView::parse(&text.replace(',', "\n")).map_err(|why| bad(&why))?,
        None => incremental(last_seen, asked)?,
    };
    if next.voters().len() < voters_min {
        return Err(bad(&format!("fewer than {voters_min} servers would vote")));
    }
    Ok(next.with_version(zxid.0))
}

fn incremental(last_seen: &QuorumView, asked: &Reconfig<'_>) -> Result<QuorumView, Code> {
    let bad = |why: &str| {
        tracing::info!("a reconfiguration is refused: {why}");
        Code::BadArguments
    };
    if !matches!(last_seen.verifier(), Verifier::Majority { .. }) {
        return Err(bad("with groups of servers the whole configuration must be given"));
    }
    let mut members = last_seen.members().clone();
    let items = |list: &Option<std::borrow::Cow<'_, str>>| -> Vec<String> {
        let list = list.as_deref().unwrap_or_default();
        list.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    for id in items(&asked.leaving) {
        // Java does not catch this one, and the request fails as if it could not be read.
        let id: i64 = id.parse().map_err(|_| Code::MarshallingError)?;
        members.remove(&Sid(id));
    }
    for line in items(&asked.joining) {
        let (key, value) = line.split_once('=').ok_or_else(|| bad(&format!("{line:?} is not server.N=address")))?;
        let id = key.trim().rsplit('.').next().and_then(|id| id.parse().ok());
        let sid = Sid(id.ok_or_else(|| bad(&format!("{key:?} names no server")))?);
        let member = parse_server(sid, value.trim()).map_err(|why| bad(&format!("{line}: {why}")))?;
        if member.client.is_none() {
            return Err(bad(&format!("{line}: the address for clients is missing")));
        }
        members.remove(&sid);
        if let Some(other) = members.iter().find(|(_, other)| overlaps(other, &member)).map(|(other, _)| *other) {
            return Err(bad(&format!("{line}: server {other} has an address of it already")));
        }
        members.insert(sid, member);
    }
    QuorumView::new(members, 0).map_err(|why| bad(&why))
}

/// Whether two members would listen at the same place.
fn overlaps(a: &MemberAddress, b: &MemberAddress) -> bool {
    let places = |member: &MemberAddress| {
        let peers = member.addresses.iter().flat_map(|Address { host, quorum_port, election_port }| {
            [(host.to_ascii_lowercase(), *quorum_port), (host.to_ascii_lowercase(), *election_port)]
        });
        let clients = member.client.iter().map(|client| (client.host.to_ascii_lowercase(), client.port));
        peers.chain(clients.filter(|(host, _)| host != "0.0.0.0")).collect::<Vec<_>>()
    };
    let theirs = places(b);
    places(a).iter().any(|place| theirs.contains(place))
}

/// The configuration in a transaction, if it is a reconfiguration.
pub(crate) fn view_of(payload: &[u8]) -> Option<QuorumView> {
    let op = payload.get(28..32).and_then(|bytes| bytes.first_chunk()).map(|bytes| i32::from_be_bytes(*bytes))?;
    if op != Op::Reconfig.as_i32() {
        return None;
    }
    let mut reader = Reader::new(payload);
    let header = TxnHeader::decode(&mut reader).ok()?;
    match decode_txn(header.op, &mut reader).ok()? {
        Txn::SetData { data: Some(data), .. } => view_of_text(&data),
        _ => None,
    }
}

/// The configuration in a text from a peer. One that is none is said, and passed over.
pub(crate) fn view_of_text(text: &[u8]) -> Option<QuorumView> {
    let view = std::str::from_utf8(text).map_err(|error| error.to_string()).and_then(QuorumView::parse);
    view.map_err(|why| tracing::warn!("a configuration from a peer cannot be read: {why}")).ok()
}

/// What a member is in a configuration.
pub(crate) fn role(view: &QuorumView, sid: Sid) -> Option<MemberRole> {
    view.member(sid).map(|member| member.role)
}

/// Where learners connect, member by member: a leader that moves cannot stay.
pub(crate) fn same_place(a: &QuorumView, b: &QuorumView, sid: Sid) -> bool {
    let place = |view: &QuorumView| view.member(sid).map(MemberAddress::quorum);
    place(a) == place(b)
}

/// Configurations in memory, for tests and messages: which servers there are.
pub(crate) fn names(members: &BTreeMap<Sid, MemberAddress>) -> String {
    members.keys().map(Sid::to_string).collect::<Vec<_>>().join(", ")
}

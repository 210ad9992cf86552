//! What Java 3.8 and 3.9.5 were seen to send on their election ports (they send the same), and the configurations in it.

use std::sync::Arc;

use proto::{Millis, Sid, Zxid};
use quorum::effect::{Effect, HostPort, LinkId};
use quorum::election::Ballot;
use quorum::elector::{Elector, ElectorSettings, ServerState, Vote};
use quorum::notification::{Introduction, Notification, decode, encode};
use quorum::view::QuorumView;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn place(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

/// Of server 1 of three.
const INTRODUCTION: &str = "ffffffffffff0000 0000000000000001 0000000f 3132372e302e302e313a3231383032";
/// Of server 3, with multiAddress.enabled.
const INTRODUCTION_OF_SEVERAL: &str = "ffffffffffff0001 0000000000000003 0000002f 3132372e302e302e333a32313930327c
    3132372e302e312e333a32313930377c6c6f63616c686f73743a3231393131";

const THREE: &str = "server.1=127.0.0.1:21801:21802:participant\nserver.2=127.0.0.2:21801:21802:participant\n\
    server.3=127.0.0.3:21801:21802:participant\nversion=0";
const THREE_AND_AN_OBSERVER: &str = "server.1=127.0.0.1:21801:21802:participant\n\
    server.2=127.0.0.2:21801:21802:participant\nserver.3=127.0.0.3:21801:21802:participant\n\
    server.4=127.0.0.4:21801:21802:observer\nversion=0";

// Length, state, leader, zxid, election epoch, peer epoch, version, length of the text that follows.
const LOOKING_FOR_ITSELF: &str =
    "000000b6 00000000 0000000000000001 0000000000000000 0000000000000001 0000000000000000 00000002 0000008a";
const AN_OBSERVER_LOOKING: &str =
    "000000de 00000000 8000000000000000 8000000000000000 0000000000000001 8000000000000000 00000002 000000b2";
const LOOKING_FOR_2: &str =
    "000000b6 00000000 0000000000000002 0000000000000000 0000000000000001 0000000000000000 00000002 0000008a";
const FOLLOWING_2: &str =
    "000000b6 00000001 0000000000000002 0000000000000000 0000000000000001 0000000000000001 00000002 0000008a";
const LEADING: &str =
    "000000b6 00000002 0000000000000002 0000000000000000 0000000000000001 0000000000000001 00000002 0000008a";

fn message(head: &str, config: &str) -> Vec<u8> {
    [&hex(head)[..], config.as_bytes()].concat()
}

#[test]
fn introductions_are_javas_to_the_byte() {
    let one = Introduction { sid: Sid(1), addresses: vec![place("127.0.0.1", 21802)] };
    assert_eq!(Introduction::decode(&hex(INTRODUCTION)), Ok(Some((one.clone(), 35))));
    assert_eq!(Introduction::encode(Sid(1), &one.addresses, false), hex(INTRODUCTION));
    let addresses = vec![place("127.0.0.3", 21902), place("127.0.1.3", 21907), place("localhost", 21911)];
    let several = Introduction { sid: Sid(3), addresses };
    let bytes = hex(INTRODUCTION_OF_SEVERAL);
    assert_eq!(Introduction::decode(&bytes), Ok(Some((several.clone(), bytes.len()))));
    assert_eq!(Introduction::encode(Sid(3), &several.addresses, true), bytes);
}

#[test]
fn notifications_are_javas_to_the_byte() {
    let least = i64::MIN;
    for (head, config, state, leader, zxid, peer_epoch) in [
        (LOOKING_FOR_ITSELF, THREE, ServerState::Looking, 1, 0, 0),
        (AN_OBSERVER_LOOKING, THREE_AND_AN_OBSERVER, ServerState::Looking, least, least, least),
        (LOOKING_FOR_2, THREE, ServerState::Looking, 2, 0, 0),
        (FOLLOWING_2, THREE, ServerState::Following, 2, 0, 1),
        (LEADING, THREE, ServerState::Leading, 2, 0, 1),
    ] {
        let vote = Vote { leader: Sid(leader), zxid: Zxid(zxid), election_epoch: 1, peer_epoch };
        let ballot = Ballot { state, vote, version: 2 };
        let bytes = message(head, config);
        assert_eq!(decode(&bytes[4..]), Ok(Notification { ballot, config: Some(config.to_owned()) }));
        assert_eq!(encode(&ballot, config), bytes);
    }
}

/// Lines of a zoo.cfg, and what Java says its configuration is.
const CONFIGURATIONS: [(&str, &str); 5] = [
    (
        "server.1=127.0.0.1:21801:21802;21800\nserver.2=127.0.0.2:21801:21802:participant;127.0.0.2:21800\n\
         server.3=127.0.0.3:21801:21802\nserver.4=127.0.0.4:21801:21802:observer;21803",
        "server.1=127.0.0.1:21801:21802:participant;0.0.0.0:21800\n\
         server.2=127.0.0.2:21801:21802:participant;127.0.0.2:21800\nserver.3=127.0.0.3:21801:21802:participant\n\
         server.4=127.0.0.4:21801:21802:observer;0.0.0.0:21803\nversion=0",
    ),
    (
        "server.1=127.0.0.1:1:2\nserver.2=127.0.0.2:1:2\nserver.3=127.0.0.3:1:2\nserver.4=127.0.0.4:1:2\n\
         server.5=127.0.0.5:1:2\nserver.6=127.0.0.6:1:2\nserver.7=127.0.0.7:1:2:observer\ngroup.2=4:5:6\n\
         group.1=3:1:2\nweight.3=2\nweight.5=0",
        "server.1=127.0.0.1:1:2:participant\nserver.2=127.0.0.2:1:2:participant\nserver.3=127.0.0.3:1:2:participant\n\
         server.4=127.0.0.4:1:2:participant\nserver.5=127.0.0.5:1:2:participant\nserver.6=127.0.0.6:1:2:participant\n\
         server.7=127.0.0.7:1:2:observer\ngroup.1=1:2:3\ngroup.2=4:5:6\nweight.1=1\nweight.2=1\nweight.3=2\n\
         weight.4=1\nweight.5=0\nweight.6=1\nversion=0",
    ),
    (
        "server.1=127.0.0.1:1:2\nserver.2=127.0.0.2:1:2\nserver.3=127.0.0.3:1:2\nserver.4=127.0.0.4:1:2:observer\n\
         group.1=1\ngroup.2=2:4\ngroup.30=3\nweight.4=7",
        "server.1=127.0.0.1:1:2:participant\nserver.2=127.0.0.2:1:2:participant\nserver.3=127.0.0.3:1:2:participant\n\
         server.4=127.0.0.4:1:2:observer\ngroup.1=1\ngroup.2=2:4\ngroup.30=3\nweight.1=1\nweight.2=1\nweight.3=1\n\
         weight.4=7\nversion=0",
    ),
    (
        "server.1=[::1]:21801:21802;[::1]:21800\nserver.2=127.0.0.2:21801:21802:Participant;[::]:21800\n\
         server.3=127.0.0.3:21801:21802;21803\nserver.4=localhost:21801:21802\n\
         server.5=[::ffff:127.0.0.5]:21801:21802\nserver.6=[fe80::1:2]:21801:21802",
        "server.1=[0:0:0:0:0:0:0:1]:21801:21802:participant;[0:0:0:0:0:0:0:1]:21800\n\
         server.2=127.0.0.2:21801:21802:participant;[0:0:0:0:0:0:0:0]:21800\n\
         server.3=127.0.0.3:21801:21802:participant;0.0.0.0:21803\nserver.4=localhost:21801:21802:participant\n\
         server.5=127.0.0.5:21801:21802:participant\nserver.6=[fe80:0:0:0:0:0:1:2]:21801:21802:participant\nversion=0",
    ),
    (
        "server.1=127.0.0.1:21801:21802\nserver.2=127.0.0.2:21801:21802\n\
         server.3=127.0.1.3:21806:21807|127.0.0.3:21801:21802|localhost:21810:21811:observer",
        "server.1=127.0.0.1:21801:21802:participant\nserver.2=127.0.0.2:21801:21802:participant\n\
         server.3=127.0.0.3:21801:21802|127.0.1.3:21806:21807|localhost:21810:21811:observer\nversion=0",
    ),
];

#[test]
fn configurations_are_javas_to_the_byte() {
    for (lines, text) in CONFIGURATIONS {
        assert_eq!(QuorumView::parse(lines).expect("a configuration").to_text(), text);
        assert_eq!(QuorumView::parse(text).expect("a configuration").to_text(), text);
    }
}

#[test]
fn large_ids_are_in_the_order_of_javas_hash_map() {
    let java = [33, 2, 3, 100, 5, 40, 200, 12, 15, 16, 17, 254, 255];
    let lines: String = java.iter().map(|sid| format!("server.{sid}=h:1:2:participant\n")).collect();
    let sorted = QuorumView::parse(&lines).expect("a configuration");
    assert_eq!(sorted.to_text(), format!("{lines}version=0"));
}

/// A Java server that has a leader, and to which a link is made, first repeats the last thing that it said to this peer before: it may
/// be that it was looking.
#[test]
fn what_java_repeats_on_a_new_link_does_not_mislead() {
    let view = Arc::new(QuorumView::parse(THREE).expect("a configuration"));
    let mut elector = Elector::new(ElectorSettings::new(Sid(3)), view, Millis(0));
    elector.look(Zxid(0), 1, Millis(0));
    let mut links = Vec::new();
    for effect in elector.effects().collect::<Vec<_>>() {
        let Effect::Connect { ticket, peer, .. } = effect else { panic!("{effect:?}") };
        let link = LinkId(peer.0 as u64);
        elector.connected(ticket, link, Millis(1));
        links.push(link);
    }
    let followers = [(links[0], FOLLOWING_2), (links[1], LEADING)];
    for (link, _) in followers {
        elector.received(link, &message(LOOKING_FOR_2, THREE), Millis(2));
    }
    assert_eq!(elector.outcome(), None, "this server's own vote is better than the old one");
    for (link, head) in followers {
        elector.received(link, &message(head, THREE), Millis(3));
    }
    let vote = elector.outcome().expect("both say who leads");
    assert_eq!((vote.leader, vote.peer_epoch), (Sid(2), 1));
}

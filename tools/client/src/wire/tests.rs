//! The client's bytes against the server's decoders, and a few frames written out by hand.

use super::*;
use proto::request::{AuthPacket, Create, PathVersion, PathWatch, RequestHeader};
use proto::{Decode, Encode, JuteError, Op, Reader, Stat, Xid, Zxid, multi};

fn body(request: &Request<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    request.put_frame(&mut out, Xid(5));
    let (payload, taken) = next_frame(&out).unwrap().unwrap();
    assert_eq!(taken, out.len());
    let mut r = Reader::new(payload);
    assert_eq!(RequestHeader::decode(&mut r).unwrap(), RequestHeader { xid: Xid(5), op: request.op() });
    r.rest().to_vec()
}

#[test]
fn a_get_is_these_bytes() {
    let mut out = Vec::new();
    Request::GetData("/a", true).put_frame(&mut out, Xid(7));
    assert_eq!(out, [0, 0, 0, 15, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2, b'/', b'a', 1]);
}

#[test]
fn requests_are_what_the_server_reads() {
    let acl = open_acl();
    let bytes = body(&Request::CreateTtl { path: "/t", data: None, acl: &acl, flags: 5, ttl: 9 });
    let mut r = Reader::new(&bytes);
    let create = Create::decode(Op::CreateTtl, &mut r).unwrap();
    assert_eq!((create.path.as_ref(), create.data, create.flags, create.ttl), ("/t", None, 5, 9));
    assert!(r.is_empty());
    let bytes = body(&Request::Auth("digest", b"u:p"));
    let auth = AuthPacket::decode(&mut Reader::new(&bytes)).unwrap();
    assert_eq!((auth.scheme.as_ref(), auth.auth), ("digest", Some(b"u:p".as_slice())));
    let bytes = body(&Request::GetChildren2("/", false));
    assert_eq!(PathWatch::decode(&mut Reader::new(&bytes)).unwrap().path, "/");
}

#[test]
fn a_multi_is_what_the_server_reads() {
    let acl = open_acl();
    let members = [
        MultiOp::Create(Op::Create2, "/a", Some(b"x"), &acl, 0),
        MultiOp::SetData("/a", None, -1),
        MultiOp::Check("/a", 1),
        MultiOp::Delete("/a", 1),
    ];
    let bytes = body(&Request::Multi(&members));
    let mut r = Reader::new(&bytes);
    let read = multi::decode_members(&mut r).unwrap();
    assert!(r.is_empty());
    assert_eq!(read.len(), 4);
    assert_eq!(read[3], multi::Member::Delete(PathVersion { path: "/a".into(), version: 1 }));
}

#[test]
fn frames_may_arrive_in_pieces() {
    let bytes = [0, 0, 0, 2, 8, 9, 0, 0];
    assert_eq!(next_frame(&bytes), Ok(Some((&[8, 9][..], 6))));
    assert_eq!(next_frame(&bytes[..5]), Ok(None));
    assert_eq!(next_frame(&bytes[6..]), Ok(None));
    assert_eq!(next_frame(&[0xFF; 4]), Err(JuteError::Length(-1)));
}

#[test]
fn events_and_replies_are_told_apart() {
    let mut out = Vec::new();
    proto::reply::put_notification(&mut out, Zxid(9), proto::reply::EventType::NodeDeleted, "/a");
    let event = Event { zxid: Zxid(9), kind: 2, state: 3, path: "/a".to_owned() };
    assert_eq!(Frame::decode(&out[4..]), Ok(Frame::Event(event)));
    let mut out = Vec::new();
    proto::reply::put_header(&mut out, Xid(1), Zxid(2), proto::Code::NoNode);
    let reply = Reply { xid: Xid(1), zxid: Zxid(2), err: -101 };
    assert_eq!(Frame::decode(&out), Ok(Frame::Reply(reply, &[])));
}

#[test]
fn a_multis_results_are_read_to_the_end() {
    let mut out = Vec::new();
    multi::put_member_header(&mut out, Op::SetData, proto::Code::Ok);
    Stat::default().encode(&mut out);
    multi::put_member_error(&mut out, proto::Code::BadVersion);
    multi::put_end(&mut out);
    let expected = Response::Multi(vec![MultiResult::Set(Stat::default()), MultiResult::Error(-103)]);
    assert_eq!(Response::decode(Op::Multi.as_i32(), &out), Ok(expected));
    out.push(0);
    assert!(Response::decode(Op::Multi.as_i32(), &out).is_err(), "trailing bytes are noticed");
}

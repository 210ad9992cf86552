//! Everything that a server sends, as our own client and the oracle read it: a byte (the operation's number; 0 for the answer
//! to a connect request, 255 for a stream of frames, 254 and 253 for stats), then the bytes.

use client::wire::{Frame, Response, next_frame};
use proto::connect::ConnectResponse;
use proto::reply::{EventType, put_header_frame, put_notification};
use proto::stat::{Owner, Stat, StatPersisted};
use proto::{Code, Decode, Encode, Reader, Xid, Zxid};

use crate::same::same;

/// Fuzz target.
pub fn replies(input: &[u8]) {
    let Some((number, body)) = input.split_first() else { return };
    match *number {
        0 => same!(
            body,
            |r| {
                let response = ConnectResponse::decode(r.rest());
                *r = Reader::new(&[]);
                response
            },
            |response, out| response.encode(out)
        ),
        255 => frames(body),
        254 => same!(body, |r| Stat::decode(r), |stat, out| stat.encode(out)),
        253 => same!(body, |r| StatPersisted::decode(r), |stat, out| {
            stat.encode(out);
            for (extended, emulate353) in [(false, false), (true, false), (true, true)] {
                let owner = Owner::decode(stat.owner, extended, emulate353);
                assert_eq!(
                    Owner::decode(owner.encode(), extended, false),
                    Owner::decode(owner.encode(), extended, false)
                );
                owner.visible();
            }
        }),
        number => {
            _ = Response::decode(i32::from(number), body);
            // Internal operations have negative numbers.
            _ = Response::decode(-i32::from(number), body);
        }
    }
}

/// Frames as they come from a socket; events are written as the server writes them, and read back.
fn frames(mut bytes: &[u8]) {
    while let Ok(Some((payload, used))) = next_frame(bytes) {
        match Frame::decode(payload) {
            Ok(Frame::Event(event)) => {
                let Some(kind) = [
                    EventType::NodeCreated,
                    EventType::NodeDeleted,
                    EventType::NodeDataChanged,
                    EventType::NodeChildrenChanged,
                ]
                .into_iter()
                .find(|kind| *kind as i32 == event.kind) else {
                    bytes = &bytes[used..];
                    continue;
                };
                let mut out = Vec::new();
                put_notification(&mut out, event.zxid, kind, &event.path);
                let (payload, length) = next_frame(&out).expect("a length").expect("a whole frame");
                assert_eq!(length, out.len());
                let Ok(Frame::Event(again)) = Frame::decode(payload) else { panic!("an event is an event") };
                if event.path.chars().all(|c| c as u32 <= 0xFFFF) {
                    assert_eq!((event.zxid, event.kind, &event.path), (again.zxid, again.kind, &again.path));
                }
            }
            Ok(Frame::Reply(reply, body)) => {
                for op in [reply.xid.0, reply.xid.0 & 31, 1, 4, 14] {
                    _ = Response::decode(op, body);
                }
                if let Some(code) = reply.code().filter(|_| reply.xid != Xid::NOTIFICATION) {
                    let mut out = Vec::new();
                    put_header_frame(&mut out, reply.xid, reply.zxid, code);
                    let (payload, _) = next_frame(&out).expect("a length").expect("a whole frame");
                    assert_eq!(Frame::decode(payload), Ok(Frame::Reply(reply, &[])));
                }
            }
            Err(_) => {}
        }
        bytes = &bytes[used..];
    }
    _ = (Code::from_i32(bytes.len() as i32), Zxid::ZERO);
}

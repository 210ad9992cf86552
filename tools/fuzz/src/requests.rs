//! Every record that a client sends: a byte (the operation's number; 0 for a connect request, 255 for a request's header),
//! then the record.
//!
//! What was decoded is written by the few lines below, and decoding that answers the same.

use proto::acl::RawAcl;
use proto::connect::ConnectRequest;
use proto::jute::{put_bool, put_buffer, put_int, put_long, put_string, put_strings};
use proto::multi::{Member, decode_members, put_end, put_member_header};
use proto::request::{
    AuthPacket, Create, CreateMode, PathNumber, PathVersion, PathWatch, Reconfig, RequestHeader, SetAcl, SetData,
    SetWatches,
};
use proto::{Code, Decode, JuteError, Op, Reader};

use crate::same::same;

/// Fuzz target.
pub fn requests(input: &[u8]) {
    let Some((number, body)) = input.split_first() else { return };
    match *number {
        0 => same!(body, |r| connect_request(r), |request, out| request.encode(out)),
        255 => same!(body, |r| RequestHeader::decode(r), |header, out| {
            put_int(out, header.xid.0);
            put_int(out, header.op);
        }),
        number => {
            if let Some(op) = Op::from_i32(i32::from(number)) {
                request(op, body);
            }
        }
    }
}

fn connect_request(r: &mut Reader<'_>) -> Result<ConnectRequest, JuteError> {
    let request = ConnectRequest::decode(r.rest())?;
    *r = Reader::new(&[]);
    Ok(request)
}

fn request(op: Op, body: &[u8]) {
    match op {
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
            same!(body, |r| Create::decode(op, r), |create, out| put_create(op, create, out));
        }
        Op::Delete | Op::Check => same!(body, |r| PathVersion::decode(r), |record, out| put_path_version(record, out)),
        Op::Exists | Op::GetData | Op::GetChildren | Op::GetChildren2 => {
            same!(body, |r| PathWatch::decode(r), |record, out| put_path_watch(record, out));
        }
        Op::SetData => same!(body, |r| SetData::decode(r), |set, out| put_set_data(set, out)),
        Op::SetAcl => same!(body, |r| SetAcl::decode(r), |set, out| {
            put_string(out, &set.path);
            put_acl(set.acl.as_deref(), out);
            put_int(out, set.version);
        }),
        Op::CheckWatches | Op::RemoveWatches | Op::AddWatch => {
            same!(body, |r| PathNumber::decode(r), |record, out| {
                put_string(out, &record.path);
                put_int(out, record.number);
            });
        }
        Op::SetWatches | Op::SetWatches2 => same!(body, |r| SetWatches::decode(op, r), |set, out| {
            put_long(out, set.relative_zxid.0);
            [&set.data, &set.exist, &set.child].into_iter().for_each(|paths| put_strings(out, paths));
            if op == Op::SetWatches2 {
                [&set.persistent, &set.recursive].into_iter().for_each(|paths| put_strings(out, paths));
            }
        }),
        Op::Auth => same!(body, |r| AuthPacket::decode(r), |packet, out| {
            put_int(out, 0);
            put_string(out, &packet.scheme);
            put_buffer(out, packet.auth);
        }),
        Op::Reconfig => same!(body, |r| Reconfig::decode(r), |change, out| {
            [&change.joining, &change.leaving, &change.members]
                .into_iter()
                .for_each(|text| put_text(text.as_deref(), out));
            put_long(out, change.from);
        }),
        Op::Multi | Op::MultiRead => same!(body, |r| decode_members(r), |members, out| {
            members.iter().for_each(|member| put_member(member, out));
            put_end(out);
        }),
        Op::GetAcl | Op::Sync | Op::GetEphemerals | Op::GetAllChildrenNumber | Op::DeleteContainer => {
            same!(body, |r| r.string_or_null(), |path, out| put_text(path.as_deref(), out));
        }
        _ => {}
    }
}

fn put_text(text: Option<&str>, out: &mut Vec<u8>) {
    match text {
        Some(text) => put_string(out, text),
        None => put_buffer(out, None),
    }
}

fn put_acl(acl: Option<&[RawAcl]>, out: &mut Vec<u8>) {
    let Some(acl) = acl else { return put_int(out, -1) };
    put_int(out, acl.len() as i32);
    for entry in acl {
        put_int(out, entry.perms);
        put_text(entry.scheme.as_deref(), out);
        put_text(entry.id.as_deref(), out);
    }
}

fn put_create(op: Op, create: &Create<'_>, out: &mut Vec<u8>) {
    put_string(out, &create.path);
    put_buffer(out, create.data);
    put_acl(create.acl.as_deref(), out);
    put_int(out, create.flags);
    if op == Op::CreateTtl {
        put_long(out, create.ttl);
    }
}

fn put_path_version(record: &PathVersion<'_>, out: &mut Vec<u8>) {
    put_string(out, &record.path);
    put_int(out, record.version);
}

fn put_path_watch(record: &PathWatch<'_>, out: &mut Vec<u8>) {
    put_string(out, &record.path);
    put_bool(out, record.watch);
}

fn put_set_data(set: &SetData<'_>, out: &mut Vec<u8>) {
    put_string(out, &set.path);
    put_buffer(out, set.data);
    put_int(out, set.version);
}

fn put_member(member: &Member<'_>, out: &mut Vec<u8>) {
    match member {
        Member::Create(op, create) => {
            assert_eq!(*op == Op::CreateTtl, CreateMode::from_flags(create.flags).is_some_and(|mode| mode.ttl));
            // A create whose flags name nothing can only have come as a createTTL.
            let sent_as = if CreateMode::from_flags(create.flags).is_none() || create.acl.is_none() {
                Op::CreateTtl
            } else {
                *op
            };
            put_member_header(out, sent_as, Code::Ok);
            put_create(sent_as, create, out);
        }
        Member::Delete(record) => {
            put_member_header(out, Op::Delete, Code::Ok);
            put_path_version(record, out);
        }
        Member::SetData(set) => {
            put_member_header(out, Op::SetData, Code::Ok);
            put_set_data(set, out);
        }
        Member::Check(record) => {
            put_member_header(out, Op::Check, Code::Ok);
            put_path_version(record, out);
        }
        Member::GetChildren(record) => {
            put_member_header(out, Op::GetChildren, Code::Ok);
            put_path_watch(record, out);
        }
        Member::GetData(record) => {
            put_member_header(out, Op::GetData, Code::Ok);
            put_path_watch(record, out);
        }
    }
}

//! multi and multiRead: several operations in one request (client-protocol.md §10).

use crate::code::Code;
use crate::jute::{Decode, JuteError, Reader, put_bool, put_int};
use crate::op::Op;
use crate::request::{Create, CreateMode, PathVersion, PathWatch, SetData};

/// A member of a multi.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Member<'a> {
    /// One of the four creates; the operation is the one that the flags imply.
    Create(Op, Create<'a>),
    /// delete
    Delete(PathVersion<'a>),
    /// setData
    SetData(SetData<'a>),
    /// check
    Check(PathVersion<'a>),
    /// getChildren (multiRead only)
    GetChildren(PathWatch<'a>),
    /// getData (multiRead only)
    GetData(PathWatch<'a>),
}

/// Reads all members. Any fault fails the whole request.
pub fn decode_members<'a>(r: &mut Reader<'a>) -> Result<Vec<Member<'a>>, JuteError> {
    let mut members = Vec::new();
    loop {
        let number = r.int()?;
        let done = r.bool()?;
        r.int()?;
        if done {
            break;
        }
        let op = Op::from_i32(number).ok_or(JuteError::Unknown(number, "member of a multi"))?;
        let member = match op {
            Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => create(op, r)?,
            Op::Delete => Member::Delete(PathVersion::decode(r)?),
            Op::SetData => Member::SetData(SetData::decode(r)?),
            Op::Check => Member::Check(PathVersion::decode(r)?),
            Op::GetChildren => Member::GetChildren(PathWatch::decode(r)?),
            Op::GetData => Member::GetData(PathWatch::decode(r)?),
            _ => return Err(JuteError::Unknown(number, "member of a multi")),
        };
        if members.first().is_some_and(|first| is_read(first) != is_read(&member)) {
            return Err(JuteError::Mixed("reads and writes in one multi"));
        }
        members.push(member);
    }
    Ok(members)
}

/// Is the member a read?
pub fn is_read(member: &Member<'_>) -> bool {
    matches!(member, Member::GetChildren(_) | Member::GetData(_))
}

/// A create inside a multi is checked while it is decoded, and the operation is derived again from the flags: a container
/// flag makes createContainer of create and create2, and a createTTL whose flag names no TTL is an ordinary create, whatever
/// its ttl (a flag that names nothing, or a null list, is then judged with the member).
fn create<'a>(op: Op, r: &mut Reader<'a>) -> Result<Member<'a>, JuteError> {
    let mut create = Create::decode(op, r)?;
    let mode = CreateMode::from_flags(create.flags);
    if op == Op::CreateTtl {
        if mode.is_some_and(|mode| mode.ttl) {
            return Ok(Member::Create(op, create));
        }
        create.ttl = -1;
        let container = mode.is_some_and(|mode| mode.container);
        return Ok(Member::Create(if container { Op::CreateContainer } else { Op::Create }, create));
    }
    let mode = mode.ok_or(JuteError::Unknown(create.flags, "create flag"))?;
    if create.acl.is_none() {
        return Err(JuteError::Null);
    }
    if mode.ttl {
        return Err(JuteError::Mixed("a TTL flag without a ttl"));
    }
    let op = if mode.container && matches!(op, Op::Create | Op::Create2) { Op::CreateContainer } else { op };
    Ok(Member::Create(op, create))
}

/// Appends a member's header.
pub fn put_member_header(out: &mut Vec<u8>, op: Op, code: Code) {
    put_int(out, op.as_i32());
    put_bool(out, false);
    put_int(out, code.as_i32());
}

/// Appends a member's error result: header and body.
pub fn put_member_error(out: &mut Vec<u8>, code: Code) {
    put_member_header(out, Op::Error, code);
    put_int(out, code.as_i32());
}

/// Appends the end of a multi's members or results.
pub fn put_end(out: &mut Vec<u8>) {
    put_int(out, -1);
    put_bool(out, true);
    put_int(out, -1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Acl;
    use crate::jute::{put_buffer, put_long, put_string, put_vector};

    fn create_ttl_member(flags: i32, ttl: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_member_header(&mut out, Op::CreateTtl, Code::Ok);
        put_string(&mut out, "/a");
        put_buffer(&mut out, None);
        put_vector(&mut out, &[Acl::open()]);
        put_int(&mut out, flags);
        put_long(&mut out, ttl);
        put_end(&mut out);
        out
    }

    /// As 3.9.5 answers: such a member is carried out as a create, and a flag that names nothing fails just that member.
    #[test]
    fn a_create_ttl_member_without_a_ttl_flag_is_an_ordinary_create() {
        let cases = [
            (5, Op::CreateTtl, 7),
            (6, Op::CreateTtl, 7),
            (0, Op::Create, -1),
            (1, Op::Create, -1),
            (4, Op::CreateContainer, -1),
            (9, Op::Create, -1),
        ];
        for (flags, op, ttl) in cases {
            let bytes = create_ttl_member(flags, 7);
            let members = decode_members(&mut Reader::new(&bytes)).unwrap();
            let Member::Create(read_op, create) = &members[0] else { panic!("{members:?}") };
            assert_eq!((*read_op, create.flags, create.ttl), (op, flags, ttl));
        }
    }
}

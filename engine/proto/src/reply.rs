//! Reply headers, notifications, and the framing of both.

use crate::code::Code;
use crate::ids::{Xid, Zxid};
use crate::jute::{JuteError, Reader, put_int, put_long, put_string};

/// Event types of notifications (client-protocol.md §14.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(i32)]
pub enum EventType {
    /// The znode was created.
    NodeCreated = 1,
    /// The znode was deleted.
    NodeDeleted = 2,
    /// The znode's data changed.
    NodeDataChanged = 3,
    /// The znode's child list changed.
    NodeChildrenChanged = 4,
}

/// The only state that servers put into events.
pub const STATE_SYNC_CONNECTED: i32 = 3;
/// Bytes of a reply header.
pub const REPLY_HEADER_BYTES: usize = 16;

/// Starts a frame: reserves its length word. Give the result to [`end_frame`].
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    put_int(out, 0);
    start
}

/// Ends the frame that began at `start`: fills in its length.
pub fn end_frame(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a reply header.
pub fn put_header(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: Code) {
    put_int(out, xid.0);
    put_long(out, zxid.0);
    put_int(out, code.as_i32());
}

/// Appends a whole frame that is only a header.
pub fn put_header_frame(out: &mut Vec<u8>, xid: Xid, zxid: Zxid, code: Code) {
    put_int(out, REPLY_HEADER_BYTES as i32);
    put_header(out, xid, zxid, code);
}

/// Appends the whole answer to a SASL token of a server that has none to give back: zxid 0, success, a null token.
pub fn put_no_token_frame(out: &mut Vec<u8>, xid: Xid) {
    let start = begin_frame(out);
    put_header(out, xid, Zxid::ZERO, Code::Ok);
    put_int(out, -1);
    end_frame(out, start);
}

/// Appends a whole notification frame. `zxid` is that of the transaction, −1 for catch-up events of setWatches.
pub fn put_notification(out: &mut Vec<u8>, zxid: Zxid, event: EventType, path: &str) {
    let start = begin_frame(out);
    put_header(out, Xid::NOTIFICATION, zxid, Code::Ok);
    put_int(out, event as i32);
    put_int(out, STATE_SYNC_CONNECTED);
    put_string(out, path);
    end_frame(out, start);
}

/// A reply header as a client reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyHeader {
    /// The request's number, −1 for a notification.
    pub xid: Xid,
    /// See client-protocol.md §4.
    pub zxid: Zxid,
    /// Raw error code.
    pub err: i32,
}

impl ReplyHeader {
    /// Reads the header from the front of `r`.
    pub fn decode(r: &mut Reader<'_>) -> Result<ReplyHeader, JuteError> {
        Ok(ReplyHeader { xid: Xid(r.int()?), zxid: Zxid(r.long()?), err: r.int()? })
    }
}

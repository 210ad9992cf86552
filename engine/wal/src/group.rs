//! The records that will become one write: appended one by one, then closed into whole blocks.
//!
//! What always holds: every record but the last has its checksum; the last one gets it when the next is appended or the
//! group is closed, because closing lengthens it.

use aligned::AlignedBuf;
use proto::Zxid;

use crate::format::{self, EOR, HEADER_BYTES, RECORD_HEAD_BYTES, Trailer};

/// An open group, or a full one that waits for its turn.
pub(crate) struct Group {
    buffer: AlignedBuf,
    last_record: usize,
    pub(crate) final_zxid: Zxid,
    pub(crate) first_zxid: Zxid,
    /// A new file has to start with this group.
    pub(crate) starts_file: bool,
}

impl Group {
    /// An empty group in `buffer`'s memory.
    pub(crate) fn new(mut buffer: AlignedBuf, starts_file: bool) -> Group {
        buffer.clear();
        Group { buffer, last_record: 0, final_zxid: Zxid::ZERO, first_zxid: Zxid::ZERO, starts_file }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Length once closed, as the first group of a file or as a later one.
    pub(crate) fn closed_bytes(&self, first_in_file: bool) -> usize {
        format::closed_bytes(self.buffer.len() + if first_in_file { HEADER_BYTES } else { 0 })
    }

    pub(crate) fn append(&mut self, zxid: Zxid, payload: &[u8]) {
        if self.is_empty() {
            self.first_zxid = zxid;
        } else {
            self.finish_last();
        }
        self.last_record = self.buffer.len();
        self.final_zxid = zxid;
        self.buffer.extend_from_slice(&[0; 8]);
        let length = u32::try_from(payload.len()).expect("the log refuses larger payloads");
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(payload);
        self.buffer.extend_from_slice(&[EOR]);
    }

    fn finish_last(&mut self) {
        let record = self.last_record;
        let end = self.buffer.len() - 1;
        let sum = format::checksum(&self.buffer[record + RECORD_HEAD_BYTES..end]);
        self.buffer[record..record + 8].copy_from_slice(&sum.to_be_bytes());
    }

    /// The bytes to write at `start`: whole blocks.
    pub(crate) fn close(mut self, start: u64, durable: Zxid, dbid: u64) -> AlignedBuf {
        assert!(!self.is_empty(), "a group has a record");
        if start == 0 {
            let mut with_header = AlignedBuf::with_capacity(self.closed_bytes(true));
            with_header.extend_from_slice(&format::file_header(dbid));
            with_header.extend_from_slice(&self.buffer);
            self.buffer = with_header;
            self.last_record += HEADER_BYTES;
        }
        let closed = self.closed_bytes(false);
        let payload_end = self.buffer.len() - 1;
        self.buffer.truncate(payload_end);
        self.buffer.resize(closed);
        let trailer = Trailer {
            start,
            durable,
            last_record: u32::try_from(self.last_record).expect("a group is shorter than 4 GiB"),
            payload_bytes: u32::try_from(payload_end - self.last_record - RECORD_HEAD_BYTES).expect("as above"),
        };
        format::close(&mut self.buffer, trailer, dbid);
        self.buffer
    }
}

//! A snapshot on its way from a leader to a learner: the body of a snapshot file without header, seals and sections, and a
//! signature at its end (peer-protocol.md §8). It has no length: whoever reads it finds its end.

use std::collections::BTreeMap;

use proto::{
    Decode, JuteError, Reader, SessionId, Zxid,
    acl::{ACL_BYTES_MIN, Acl},
    stat::StatPersisted,
};

use crate::load::Why;

/// What follows the last znode.
pub(crate) const SIGNATURE: &str = "BenWasHere";

/// Reads a snapshot as its bytes come.
#[derive(Debug)]
pub struct StreamLoader {
    /// What is not a whole record yet.
    rest: Vec<u8>,
    part: Part,
    sessions: BTreeMap<SessionId, i32>,
    loader: tree::Loader,
    record_bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    SessionCount,
    Sessions(u32),
    AclCount,
    Acls(u32),
    Znodes,
    Signature,
    Done,
}

impl StreamLoader {
    /// Expects the first byte. A record (a znode, an ACL) may have `record_bytes_max` bytes.
    pub fn new(options: tree::Options, record_bytes_max: usize) -> StreamLoader {
        StreamLoader {
            rest: Vec::new(),
            part: Part::SessionCount,
            sessions: BTreeMap::new(),
            loader: tree::Writer::restore(options),
            record_bytes_max,
        }
    }

    /// Takes the next bytes. `Some(n)`: the snapshot ended after `n` of them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<usize>, Why> {
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut used = 0;
        loop {
            if self.part == Part::Done {
                let left = rest.len() - used;
                return Ok(Some(bytes.len() - left));
            }
            let mut reader = Reader::new(&rest[used..]);
            match self.record(&mut reader) {
                Ok(()) => used = rest.len() - reader.rest().len(),
                Err(Why::Field(JuteError::Short)) => break,
                Err(why) => return Err(why),
            }
        }
        self.rest = rest;
        self.rest.drain(..used);
        if self.rest.len() > self.record_bytes_max {
            return Err(Why::Field(JuteError::Short));
        }
        Ok(None)
    }

    fn record(&mut self, r: &mut Reader<'_>) -> Result<(), Why> {
        let next = |left: u32, part: fn(u32) -> Part, then: Part| if left == 0 { then } else { part(left) };
        self.part = match self.part {
            Part::SessionCount => next(count(r)?, Part::Sessions, Part::AclCount),
            Part::Sessions(left) => {
                self.sessions.insert(SessionId(r.long()?), r.int()?);
                next(left - 1, Part::Sessions, Part::AclCount)
            }
            Part::AclCount => next(count(r)?, Part::Acls, Part::Znodes),
            Part::Acls(left) => {
                let id = r.long()?;
                let acl: Vec<Acl> = r.vector(ACL_BYTES_MIN)?.unwrap_or_default();
                self.loader.acl(id, acl);
                next(left - 1, Part::Acls, Part::Znodes)
            }
            Part::Znodes => {
                let path = r.string()?;
                if path == "/" {
                    Part::Signature
                } else {
                    let data = r.buffer()?;
                    let acl = r.long()?;
                    self.loader.node(&path, data, acl, StatPersisted::decode(r)?)?;
                    Part::Znodes
                }
            }
            Part::Signature => {
                if r.string()? != SIGNATURE {
                    return Err(Why::Seal);
                }
                Part::Done
            }
            Part::Done => Part::Done,
        };
        Ok(())
    }

    /// The tree as it is at `zxid`, and the sessions with their timeouts in milliseconds.
    ///
    /// # Errors
    /// If the znodes are not a tree.
    pub fn finish(self, zxid: Zxid) -> Result<(tree::Writer, BTreeMap<SessionId, i32>), Why> {
        Ok((self.loader.finish(zxid)?, self.sessions))
    }
}

fn count(r: &mut Reader<'_>) -> Result<u32, Why> {
    // −1 is jute's empty collection.
    Ok(u32::try_from(r.int()?).unwrap_or(0))
}

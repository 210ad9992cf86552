//! The format of a history: JSON lines, one record each, told apart by `t`.
//!
//! Records of one client stand in the order in which that client saw them: a request when its reply arrived, or, if it has
//! none, when the connection was given up; an event when it arrived. Times are nanoseconds of one clock for all clients.
//! Every value written is unique in the history.
//!
//! | `t` | fields |
//! |---|---|
//! | `op` | `client`, `session` (hexadecimal), `member`, `op`, `path`, `invoke`, `return` (null: no reply, it may have happened or not), `zxid` and `err` of the reply's header; what was asked: `data`, `version`, `ephemeral`, `sequential`, `watch`, `ops` (of a multi); what was answered: `stat`, `value`, `names`, `created` |
//! | `event` | `client`, `type` (1 created, 2 deleted, 3 changed, 4 children), `path`, `zxid` (−1: not told), `at` |
//! | `session` | `client`, `session`, `event`, `at`, `zxid` with `closed` |
//! | `final` | `member`, `zxid`, `nodes`: path → [czxid, mzxid, pzxid, version, cversion, owner, data] |
//!
//! Events of a session: `open` (new), `moved` (attached to a member again, watches registered again), `lost` (the
//! connection), `closed` (by the client, with the zxid of the reply), `closing` (asked to, no reply), `expired` (told so).

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;

/// A transaction's id.
pub type Zxid = i64;
/// Nanoseconds of the clients' clock.
pub type Nanos = i64;

/// What an operation asks.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Data and stat of a node.
    Get,
    /// Stat of a node.
    Exists,
    /// Names below a node.
    Children,
    /// Catch up with the leader.
    Sync,
    /// A new node.
    Create,
    /// New data.
    Set,
    /// A node removed.
    Delete,
    /// Several writes at once.
    Multi,
}

impl What {
    /// Whether it changes the tree.
    pub fn writes(self) -> bool {
        matches!(self, What::Create | What::Set | What::Delete | What::Multi)
    }
}

/// The part of a stat that is judged.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Stat {
    /// Made by this transaction.
    pub czxid: Zxid,
    /// Data last set by this one.
    pub mzxid: Zxid,
    /// Sets of data since it was made.
    pub version: i64,
    /// The session that owns it, 0 for none.
    pub owner: i64,
}

/// One write of a multi.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// What it does.
    pub op: What,
    /// Where.
    pub path: String,
    /// What it writes.
    #[serde(default)]
    pub data: Option<String>,
    /// What it was answered.
    #[serde(default)]
    pub stat: Option<Stat>,
}

/// A request, answered or not.
#[derive(Clone, Debug, Deserialize)]
pub struct Op {
    /// Who asked.
    pub client: String,
    /// In which session.
    pub session: String,
    /// Of which member.
    pub member: i64,
    /// What was asked.
    pub op: What,
    /// Where; empty for a multi.
    #[serde(default)]
    pub path: String,
    /// When it was sent.
    pub invoke: Nanos,
    /// When the reply was there.
    #[serde(rename = "return")]
    pub returned: Option<Nanos>,
    /// Of the reply's header.
    #[serde(default)]
    pub zxid: Zxid,
    /// Of the reply's header.
    #[serde(default)]
    pub err: i32,
    /// What is written.
    #[serde(default)]
    pub data: Option<String>,
    /// Whether the node is to go with its session.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether the server chooses the end of the name.
    #[serde(default)]
    pub sequential: bool,
    /// Whether the read left a watch.
    #[serde(default)]
    pub watch: bool,
    /// The writes of a multi.
    #[serde(default)]
    pub ops: Vec<Member>,
    /// What was read or made.
    #[serde(default)]
    pub stat: Option<Stat>,
    /// The data that was read.
    #[serde(default)]
    pub value: Option<String>,
    /// The names that were read.
    #[serde(default)]
    pub names: Vec<String>,
    /// The path that was made.
    #[serde(default)]
    pub created: Option<String>,
}

impl Op {
    /// Whether a reply says that it was done.
    pub fn succeeded(&self) -> bool {
        self.returned.is_some() && self.err == 0
    }
}

/// A watch's notification.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Who was told.
    pub client: String,
    /// 1 created, 2 deleted, 3 changed, 4 children.
    #[serde(rename = "type")]
    pub kind: i32,
    /// Where.
    pub path: String,
    /// Of the change; −1 when the server did not tell.
    pub zxid: Zxid,
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Life {
    /// It is new.
    Open,
    /// It is attached again, its watches too.
    Moved,
    /// Its connection is gone.
    Lost,
    /// Its client closed it.
    Closed,
    /// Its client asked to close it, and heard nothing.
    Closing,
    /// Its client was told that it is gone.
    Expired,
}

/// A session's record.
#[derive(Clone, Debug, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub client: String,
    /// Which.
    pub session: String,
    /// What became of it.
    pub event: Life,
    /// When.
    pub at: Nanos,
    /// Of the transaction that closed it.
    #[serde(default)]
    pub zxid: Zxid,
}

/// A node at the end: czxid, mzxid, pzxid, version, cversion, owner, data.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Node(pub Zxid, pub Zxid, pub Zxid, pub i64, pub i64, pub i64, pub String);

impl Node {
    /// Its stat.
    pub fn stat(&self) -> Stat {
        Stat { czxid: self.0, mzxid: self.1, version: self.3, owner: self.5 }
    }
}

/// What one member shows at the end.
#[derive(Clone, Debug, Deserialize)]
pub struct Final {
    /// Which member.
    pub member: i64,
    /// At which zxid, or a later one: nothing in the history was written after it.
    pub zxid: Zxid,
    /// All nodes below the roots of the workload.
    pub nodes: BTreeMap<String, Node>,
}

/// One line.
#[expect(clippy::large_enum_variant, reason = "nearly all records are operations")]
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Record {
    /// A request.
    Op(Op),
    /// A notification.
    Event(Event),
    /// A session's life.
    Session(Session),
    /// A tree at the end.
    Final(Final),
}

/// All records, each with its line's number in the file.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the file.
    pub records: Vec<(usize, Record)>,
}

impl History {
    /// Reads all lines.
    pub fn read(input: impl BufRead) -> io::Result<History> {
        let mut records = Vec::new();
        for (index, line) in input.lines().enumerate() {
            let record = serde_json::from_str(&line?).map_err(|problem| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {problem}", index + 1))
            })?;
            records.push((index + 1, record));
        }
        Ok(History { records })
    }

    /// The requests.
    pub fn ops(&self) -> impl Iterator<Item = (usize, &Op)> {
        self.records.iter().filter_map(|(line, record)| match record {
            Record::Op(op) => Some((*line, op)),
            _ => None,
        })
    }

    /// The records of sessions.
    pub fn sessions(&self) -> impl Iterator<Item = (usize, &Session)> {
        self.records.iter().filter_map(|(line, record)| match record {
            Record::Session(session) => Some((*line, session)),
            _ => None,
        })
    }

    /// The trees at the end.
    pub fn finals(&self) -> impl Iterator<Item = (usize, &Final)> {
        self.records.iter().filter_map(|(line, record)| match record {
            Record::Final(end) => Some((*line, end)),
            _ => None,
        })
    }
}

//! The reference model: the same tree said as plainly as possible, over one sorted map of paths, with whole states as history.
//!
//! Written from the contract (client-protocol.md §12, §16, §17; disk-formats.md §8, §11), not from the tree beside it: it shares
//! no code with what it judges, only the vocabulary. Whatever the tree keeps up to date, the model counts from scratch.
//! Slow; meant for tests and simulations. States share what they do not differ in: the map is a persistent one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proto::stat::{Owner, StatPersisted};
use proto::{Acl, Code, Id, Op, SessionId, Stat, Txn, TxnHeader, Zxid};
use rpds::RedBlackTreeMapSync;

/// A znode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Znode {
    /// Its data, or null.
    pub data: Option<Vec<u8>>,
    /// Its ACL.
    pub acl: Vec<Acl>,
    /// Its stat as stored.
    pub stat: StatPersisted,
}

impl Znode {
    /// What it adds to the digest of a tree in which it is at `path`.
    pub fn digest(&self, path: &str) -> u64 {
        if path.starts_with("/zookeeper/") {
            return 0;
        }
        let mut bytes = if path == "/" { Vec::new() } else { path.as_bytes().to_vec() };
        bytes.extend_from_slice(self.data.as_deref().unwrap_or_default());
        let s = self.stat;
        for long in [s.czxid.0, s.mzxid.0, s.pzxid.0, s.ctime.0, s.mtime.0] {
            bytes.extend(long.to_be_bytes());
        }
        for int in [s.version, s.cversion, s.aversion] {
            bytes.extend(int.to_be_bytes());
        }
        bytes.extend(s.owner.to_be_bytes());
        u64::from(crc32(&bytes))
    }
}

/// What happened to a znode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It was created.
    Created,
    /// It was deleted.
    Deleted,
    /// Its data was set.
    DataChanged,
}

/// An event with its path, the znode's ACL, and the parent's (the znode's own for changed data).
pub type Happening = (Event, String, Vec<Acl>, Vec<Acl>);

/// The result of a transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Effect {
    /// In order.
    pub happenings: Vec<Happening>,
    /// Error number and stat, per member.
    pub results: Vec<(i32, Option<Stat>)>,
}

/// Znodes by path. A copy costs nothing, a change a few nodes of the map.
pub type Znodes = RedBlackTreeMapSync<Arc<str>, Arc<Znode>>;

/// All znodes at one zxid.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// By path; the root is `/`.
    pub znodes: Znodes,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Model {
    extended_types: bool,
    emulate_353: bool,
    now: State,
    tip: Zxid,
    history: BTreeMap<Zxid, State>,
}

fn parent_of(path: &str) -> Option<&str> {
    let slash = path.rfind('/')?;
    Some(if slash == 0 { "/" } else { &path[..slash] })
}

fn under(path: &str) -> String {
    if path == "/" { "/".into() } else { format!("{path}/") }
}

impl State {
    /// Names of a znode's children, sorted.
    pub fn children(&self, path: &str) -> Vec<&str> {
        let prefix = under(path);
        self.below(path).filter_map(|(p, _)| p.strip_prefix(&prefix)).filter(|rest| !rest.contains('/')).collect()
    }

    /// Everything below a znode.
    pub fn below<'s>(&'s self, path: &str) -> impl Iterator<Item = (&'s str, &'s Znode)> {
        let prefix = under(path);
        let start: Arc<str> = prefix.as_str().into();
        self.znodes
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(move |(p, _)| p.starts_with(&prefix))
            .filter(|(p, _)| &***p != "/")
            .map(|(p, z)| (&**p, &**z))
    }

    /// A znode's stat as clients see it.
    pub fn stat(&self, path: &str, owner: Owner) -> Option<Stat> {
        let znode = self.znodes.get(path)?;
        let children = self.children(path).len() as i32;
        let s = znode.stat;
        Some(Stat {
            czxid: s.czxid,
            mzxid: s.mzxid,
            ctime: s.ctime,
            mtime: s.mtime,
            version: s.version,
            cversion: s.cversion.wrapping_mul(2).wrapping_sub(children),
            aversion: s.aversion,
            ephemeral_owner: if let Owner::Session(session) = owner { session } else { SessionId(0) },
            data_length: znode.data.as_ref().map_or(0, Vec::len) as i32,
            num_children: children,
            pzxid: s.pzxid,
        })
    }

    /// The digest of all znodes.
    pub fn digest(&self) -> u64 {
        self.znodes.iter().map(|(path, znode)| znode.digest(path)).fold(0, u64::wrapping_add)
    }

    fn change(&mut self, path: &str) -> Option<&mut Znode> {
        self.znodes.get_mut(path).map(Arc::make_mut)
    }

    /// ZooKeeper's node count.
    pub fn node_count(&self) -> usize {
        self.znodes.size() + 1
    }

    /// ZooKeeper's approximate data size.
    pub fn data_size(&self) -> i64 {
        let size = |(path, znode): (&Arc<str>, &Arc<Znode>)| {
            path.encode_utf16().count() + znode.data.as_ref().map_or(0, Vec::len)
        };
        self.znodes.iter().map(size).sum::<usize>() as i64
    }

    /// The paths with limits, the root's excepted.
    pub fn quota_paths(&self) -> Vec<String> {
        let subject = |path: &str| {
            let subject = path.strip_prefix("/zookeeper/quota")?.strip_suffix("/zookeeper_limits")?;
            subject.starts_with('/').then(|| subject.to_owned())
        };
        let mut paths: Vec<_> = self.znodes.keys().filter_map(|path| subject(path)).collect();
        paths.sort();
        paths
    }

    fn deepest_quota(&self, path: &str) -> Option<String> {
        let encloses = |quota: &String| path == quota || path.starts_with(&format!("{quota}/"));
        self.quota_paths().into_iter().filter(encloses).max_by_key(String::len)
    }

    fn recount(&mut self, subject: &str) {
        let start = if subject.is_empty() { "/" } else { subject };
        let (mut count, mut bytes) = (0, 0);
        if let Some(znode) = self.znodes.get(start) {
            for znode in self.below(start).map(|(_, z)| z).chain([&**znode]) {
                count += 1;
                bytes += znode.data.as_ref().map_or(0, Vec::len);
            }
        }
        if let Some(stats) = self.change(&format!("/zookeeper/quota{subject}/zookeeper_stats")) {
            stats.data = Some(format!("count={count},bytes={bytes}").into_bytes());
        }
    }

    /// What loading a snapshot does to quotas.
    pub fn recount_all(&mut self) {
        for subject in self.quota_paths() {
            self.recount(&subject);
        }
    }
}

impl Model {
    /// A new tree. The flags are `extendedTypesEnabled` and `emulate353TTLNodes`.
    pub fn new(extended_types: bool, emulate_353: bool) -> Model {
        let mut now = State::default();
        for (path, acl, aversion) in [
            ("/", Acl::open(), 0),
            ("/zookeeper", Acl::open(), 0),
            ("/zookeeper/quota", Acl::open(), 0),
            ("/zookeeper/config", Acl { perms: 1, id: Id::new("world", "anyone") }, -1),
        ] {
            let stat = StatPersisted { aversion, ..StatPersisted::default() };
            now.znodes.insert_mut(path.into(), Arc::new(Znode { data: Some(Vec::new()), acl: vec![acl], stat }));
        }
        let history = BTreeMap::from([(Zxid(0), now.clone())]);
        Model { extended_types, emulate_353, now, tip: Zxid(0), history }
    }

    /// The newest state.
    pub fn now(&self) -> &State {
        &self.now
    }

    /// The last transaction applied.
    pub fn tip(&self) -> Zxid {
        self.tip
    }

    /// The last transaction that is not later than a zxid.
    pub fn last_at(&self, zxid: Zxid) -> Zxid {
        self.history.range(..=zxid).next_back().map(|(zxid, _)| *zxid).expect("history before this zxid is gone")
    }

    /// The state at a zxid: after the last transaction that is not later.
    pub fn at(&self, zxid: Zxid) -> &State {
        self.history.range(..=zxid).next_back().map(|(_, state)| state).expect("history before this zxid is gone")
    }

    /// The earliest zxid whose state is kept.
    pub fn kept_from(&self) -> Zxid {
        *self.history.first_key_value().expect("history does not end").0
    }

    /// Forgets states that nobody at `zxid` or later can see.
    pub fn forget_before(&mut self, zxid: Zxid) {
        if let Some((&kept, _)) = self.history.range(..=zxid).next_back() {
            self.history = self.history.split_off(&kept);
        }
    }

    /// Takes back everything after `zxid`.
    pub fn rollback(&mut self, zxid: Zxid) {
        self.history.split_off(&zxid.next());
        let (tip, state) = self.history.last_key_value().expect("history does not end");
        (self.tip, self.now) = (*tip, state.clone());
    }

    /// Whom a znode belongs to.
    pub fn owner(&self, znode: &Znode) -> Owner {
        let raw = znode.stat.owner as u64;
        match raw {
            0 => Owner::Persistent,
            0x8000_0000_0000_0000 => Owner::Container,
            _ if self.emulate_353 && raw >> 63 == 1 => Owner::Ttl((raw & !(1 << 63)) as i64),
            _ if self.extended_types && raw >> 40 == 0xFF_0000 => Owner::Ttl((raw & 0xFF_FFFF_FFFF) as i64),
            _ => Owner::Session(SessionId(raw as i64)),
        }
    }

    /// The paths whose owner satisfies a condition, sorted.
    pub fn owned(&self, of: impl Fn(Owner) -> bool) -> Vec<&str> {
        self.now.znodes.iter().filter(|(_, z)| of(self.owner(z))).map(|(p, _)| &**p).collect()
    }

    /// Applies a transaction.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn<'_>) -> Effect {
        self.tip = self.tip.max(header.zxid);
        let mut effect = Effect::default();
        match txn {
            Txn::Multi { members } => {
                let failed = members.iter().any(|(_, member)| matches!(member, Txn::Error { .. }));
                for (op, member) in members {
                    let result = match member {
                        Txn::Error { err } => (*err, None),
                        _ if failed => (0, None),
                        member => self.one(header, *op, member, &mut effect.happenings),
                    };
                    effect.results.push(result);
                }
            }
            txn => {
                let result = self.one(header, header.op, txn, &mut effect.happenings);
                effect.results.push(result);
            }
        }
        self.history.insert(self.tip, self.now.clone());
        effect
    }

    fn one(&mut self, header: &TxnHeader, op: Op, txn: &Txn<'_>, log: &mut Vec<Happening>) -> (i32, Option<Stat>) {
        let result = match txn {
            Txn::Create { path, data, acl, ephemeral, parent_cversion } => {
                let owner = if *ephemeral { header.session.0 } else { 0 };
                self.create(header, op, path, data.as_deref(), acl, owner, *parent_cversion, log)
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                self.create(header, op, path, data.as_deref(), acl, i64::MIN, *parent_cversion, log)
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl } => {
                let owner = (0xFF00_0000_0000_0000u64 | *ttl as u64) as i64;
                self.create(header, op, path, data.as_deref(), acl, owner, *parent_cversion, log)
            }
            Txn::Delete { path } => self.delete(header.zxid, path, log).map(|()| None),
            Txn::SetData { path, data, version } => self.set_data(header, path, data.as_deref(), *version, log),
            Txn::SetAcl { path, acl, version } => match self.now.change(path) {
                None => Err(Code::NoNode),
                Some(znode) => {
                    znode.acl = acl.to_vec();
                    znode.stat.aversion = *version;
                    Ok(self.stat(path))
                }
            },
            Txn::CloseSession { paths } => {
                let listed = paths.iter().flatten().map(|path| path.to_string());
                for path in listed.collect::<Vec<_>>() {
                    let _ = self.delete(header.zxid, &path, log);
                }
                let session = header.session;
                let left = self.owned(|owner| owner == Owner::Session(session));
                for path in left.into_iter().map(str::to_owned).collect::<Vec<_>>() {
                    let _ = self.delete(header.zxid, &path, log);
                }
                Ok(None)
            }
            Txn::Error { err } => return (*err, None),
            Txn::Check { .. } | Txn::CreateSession { .. } => Ok(None),
            Txn::Multi { .. } => Err(Code::MarshallingError),
        };
        match result {
            Ok(stat) => (0, stat),
            Err(code) => (code.as_i32(), None),
        }
    }

    /// The stat of a znode in the newest state, as clients see it.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        self.now.stat(path, self.owner(self.now.znodes.get(path)?))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a create, as they are")]
    fn create(
        &mut self,
        header: &TxnHeader,
        op: Op,
        path: &str,
        data: Option<&[u8]>,
        acl: &[Acl],
        owner: i64,
        parent_cversion: i32,
        log: &mut Vec<Happening>,
    ) -> Result<Option<Stat>, Code> {
        if path == "/" {
            return Err(Code::NodeExists);
        }
        let parent_path = parent_of(path).ok_or(Code::NoNode)?;
        let exists = self.now.znodes.contains_key(path);
        let parent = self.now.change(parent_path).ok_or(Code::NoNode)?;
        let parent_acl = parent.acl.clone();
        if !exists || op == Op::Create {
            let cversion = if parent_cversion == -1 { parent.stat.cversion.wrapping_add(1) } else { parent_cversion };
            if cversion > parent.stat.cversion {
                parent.stat.cversion = cversion;
                parent.stat.pzxid = header.zxid;
            }
        }
        if let Some(znode) = self.now.change(path) {
            znode.acl = acl.to_vec();
            return Err(Code::NodeExists);
        }
        let (zxid, time) = (header.zxid, header.time);
        let stat = StatPersisted {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            owner,
            ..Default::default()
        };
        let znode = Znode { data: data.map(Into::into), acl: acl.to_vec(), stat };
        self.now.znodes.insert_mut(path.into(), Arc::new(znode));
        let stat = self.stat(path);
        let subject = path.strip_prefix("/zookeeper/quota").and_then(|p| p.strip_suffix("/zookeeper_stats"));
        if let Some(subject) = subject.filter(|subject| subject.is_empty() || subject.starts_with('/')) {
            self.now.recount(subject);
        }
        self.use_quota(path, 1, data.map_or(0, <[u8]>::len) as i64);
        log.push((Event::Created, path.into(), acl.to_vec(), parent_acl));
        Ok(stat)
    }

    fn delete(&mut self, zxid: Zxid, path: &str, log: &mut Vec<Happening>) -> Result<(), Code> {
        if path == "/" {
            return Err(Code::NoNode);
        }
        let parent_path = parent_of(path).ok_or(Code::NoNode)?;
        if !self.now.znodes.contains_key(parent_path) {
            return Err(Code::NoNode);
        }
        if self.now.znodes.contains_key(path) {
            // Deepest first, as far as levels go; within a level the last first.
            let mut below: Vec<String> = self.now.below(path).map(|(p, _)| p.to_owned()).collect();
            below.sort_by(|a, b| {
                let key = |p: &str| p.split('/').map(str::to_owned).collect::<Vec<_>>();
                let (a, b) = (key(a), key(b));
                (a.len(), a).cmp(&(b.len(), b))
            });
            for path in below.into_iter().rev() {
                self.delete(zxid, &path, log).expect("what lies below exists");
            }
        }
        let parent = self.now.change(parent_path).ok_or(Code::NoNode)?;
        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
        let parent_acl = parent.acl.clone();
        let znode = self.now.znodes.get(path).map(Arc::clone).ok_or(Code::NoNode)?;
        self.now.znodes.remove_mut(path);
        self.use_quota(path, -1, -(znode.data.as_ref().map_or(0, Vec::len) as i64));
        log.push((Event::Deleted, path.into(), znode.acl.clone(), parent_acl));
        Ok(())
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        log: &mut Vec<Happening>,
    ) -> Result<Option<Stat>, Code> {
        let znode = self.now.change(path).ok_or(Code::NoNode)?;
        let before = znode.data.as_ref().map_or(0, Vec::len) as i64;
        znode.data = data.map(Into::into);
        znode.stat.version = version;
        znode.stat.mzxid = header.zxid;
        znode.stat.mtime = header.time;
        let acl = znode.acl.clone();
        let stat = self.stat(path);
        self.use_quota(path, 0, data.map_or(0, <[u8]>::len) as i64 - before);
        log.push((Event::DataChanged, path.into(), acl.clone(), acl));
        Ok(stat)
    }

    fn use_quota(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(quota) = self.now.deepest_quota(path) else { return };
        let Some(stats) = self.now.change(&format!("/zookeeper/quota{quota}/zookeeper_stats")) else { return };
        let text = String::from_utf8_lossy(stats.data.as_deref().unwrap_or_default()).into_owned();
        let mut values = BTreeMap::new();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.insert(key.to_owned(), value.trim_end_matches('=').parse::<i64>().unwrap_or(-1));
        }
        let old = |key| values.get(key).copied().unwrap_or(-1);
        let mut text = format!("count={},bytes={}", old("count").wrapping_add(count), old("bytes").wrapping_add(bytes));
        values.retain(|key, _| key != "count" && key != "bytes");
        if !values.is_empty() {
            text.push('=');
        }
        for (key, value) in values {
            text.push_str(&format!(";{key}={value}"));
        }
        stats.data = Some(text.into_bytes());
    }
}

/// CRC-32 as in zip, bit by bit in a table.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ value >> 1 } else { value >> 1 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ crc >> 8)
}

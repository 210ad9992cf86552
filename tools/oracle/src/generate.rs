//! Random scripts. The same seed and number give the same script on every machine.
//!
//! A script has a character, drawn first: with access control or without, with quotas or without. What Java answers at
//! random, or dies of, is never drawn; [`crate::differences`] lists it.

use proto::Op;

use crate::script::{Attach, Entry, Member, Req, Since, Step, Version};
use crate::server::SUPER_AUTH;
use crate::side::Era;

/// Slots in use.
const SLOTS: usize = 4;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice of one script.
    pub fn new(seed: u64, number: u64) -> Dice {
        let mut dice = Dice(seed ^ number.wrapping_mul(0xD134_2543_DE82_EF95));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("smaller than a usize")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// What a script is about.
#[derive(Clone, Copy, Debug)]
struct Character {
    era: Era,
    acl: bool,
    quota: bool,
    /// In 3.8 a path has one watch mode at a time: then a script uses just one kind. 0: one-shot, 1: persistent, 2: recursive.
    watches: Option<usize>,
}

/// A script of about `requests` requests.
pub fn script(seed: u64, number: u64, requests: usize, era: Era) -> Vec<Step> {
    let mut dice = Dice::new(seed, number);
    let acl = dice.percent(45);
    let quota = dice.percent(30);
    let watches = (era == Era::V38).then(|| dice.below(3));
    let character = Character { era, acl, quota, watches };
    let mut g = Generator { dice, character, steps: Vec::new(), count: 0 };
    for slot in 0..SLOTS {
        g.open(slot);
    }
    for path in ["/a", "/b", "/a/b"] {
        let acl = vec![world(31)];
        g.send(0, vec![Req::Create { op: 1, path: path.to_owned(), data: Some("x".to_owned()), acl, flags: 0 }]);
    }
    if quota {
        g.set_quota("/a");
    }
    while g.count < requests {
        g.step();
    }
    g.steps
}

#[derive(Debug)]
struct Generator {
    dice: Dice,
    character: Character,
    steps: Vec<Step>,
    count: usize,
}

impl Generator {
    fn step(&mut self) {
        let slot = self.dice.below(SLOTS);
        match self.dice.below(100) {
            0..=2 => {
                self.steps.push(Step::Drop(slot));
                if self.dice.percent(30) {
                    // The session lives on without a connection for a while.
                    let other = (slot + 1) % SLOTS;
                    for _ in 0..self.dice.below(4) {
                        let burst = self.burst();
                        self.send(other, burst);
                    }
                }
                if self.dice.percent(15) {
                    let how = self.dice.of(&[Attach::WrongPassword, Attach::Ahead]);
                    self.steps.push(Step::Attach(slot, how));
                }
                self.attach(slot);
            }
            3 => self.attach(slot),
            4 => {
                let mut burst = if self.dice.percent(50) { self.burst() } else { Vec::new() };
                if let [Req::Create { op, flags, .. }] = &mut burst[..] {
                    *flags = plain_container(*op, *flags);
                }
                burst.push(Req::CloseSession);
                self.send(slot, burst);
                self.open(slot);
            }
            5 if self.character.era == Era::V39 => {
                let request = match self.dice.below(4) {
                    0 => Req::Check(self.path(), self.version()),
                    _ => {
                        let op = self.dice.of(&[0, 10, 13, 23, 99, 108, 1000, -2, -9, -12, i32::MIN, i32::MAX]);
                        let bytes = self.bytes();
                        Req::Raw(op, bytes)
                    }
                };
                self.send(slot, vec![request]);
                self.attach(slot);
            }
            6..=8 if self.character.acl => self.auth(slot),
            9..=11 if self.character.quota => self.quota(),
            _ => {
                let burst = self.burst();
                self.send(slot, burst);
            }
        }
    }

    fn send(&mut self, slot: usize, requests: Vec<Req>) {
        self.count += requests.len();
        self.steps.push(Step::Send(slot, requests));
    }

    fn open(&mut self, slot: usize) {
        let timeout_ms = self.dice.of(&[1_000_000, 1, 0, -5, 300_000, i32::MAX]);
        let read_only = self.dice.of(&[Some(false), Some(false), Some(true), None]);
        self.steps.push(Step::Open { slot, timeout_ms, read_only });
        if self.character.acl {
            self.auth(slot);
        }
    }

    fn attach(&mut self, slot: usize) {
        self.steps.push(Step::Attach(slot, Attach::Right));
        if self.character.acl && self.dice.percent(70) {
            self.auth(slot);
        }
        if self.dice.percent(70) {
            let request = self.set_watches();
            self.send(slot, vec![request]);
        }
    }

    fn auth(&mut self, slot: usize) {
        let good = ["u1:p1", "u2:p2", "u1:other", "u3:", SUPER_AUTH];
        let (scheme, data) = match self.dice.below(24) {
            0 => ("nonsense", "x"),
            1 => ("ip", ""),
            2 => ("world", "anyone"),
            3 if self.character.era == Era::V39 => ("digest", "no colon"),
            4 => ("auth", "x"),
            5 => ("super", "x"),
            _ => {
                let which = self.dice.below(if slot == 0 { 5 } else { 4 });
                ("digest", good[which])
            }
        };
        self.send(slot, vec![Req::Auth(scheme.to_owned(), data.to_owned())]);
        self.steps.push(Step::Attach(slot, Attach::IfEnded));
    }

    fn burst(&mut self) -> Vec<Req> {
        let length = if self.character.quota || self.dice.percent(55) { 1 } else { 1 + self.dice.below(12) };
        (0..length)
            .map(|place| {
                let mut request = self.request();
                // Java judges what comes behind a setACL by the old list, until the new one is applied.
                while self.character.acl && place + 1 < length && sets_acl(&request) {
                    request = self.request();
                }
                if let Req::Create { op, flags, .. } = &mut request
                    && length > 1
                {
                    *flags = plain_container(*op, *flags);
                }
                request
            })
            .collect()
    }

    fn request(&mut self) -> Req {
        if self.dice.percent(3) {
            return self.mangled();
        }
        let oneshot = self.oneshot();
        match self.dice.below(100) {
            0..=21 => self.create(),
            22..=29 => Req::Delete(self.path(), self.version()),
            30..=39 => Req::SetData(self.path(), self.data(), self.version()),
            40..=45 => {
                // In 3.8 exists asks no permission, and so sets watches that ours does not.
                let watch = oneshot && (self.character.era == Era::V39 || !self.character.acl);
                Req::Exists(self.any_path(), watch)
            }
            46..=52 => Req::GetData(self.any_path(), oneshot),
            53..=55 => Req::GetChildren(self.any_path(), oneshot),
            56..=60 => Req::GetChildren2(self.any_path(), oneshot),
            61..=62 => Req::GetAcl(self.any_path()),
            63..=65 => Req::SetAcl(self.own_path(), self.acl(), self.version()),
            66..=67 => Req::Sync(self.any_path()),
            68 => Req::Ping,
            69..=78 => self.multi(),
            79..=80 => {
                let members = (0..self.dice.below(5))
                    .map(|_| {
                        if self.dice.percent(50) {
                            Member::GetData(self.any_path())
                        } else {
                            Member::GetChildren(self.any_path())
                        }
                    })
                    .collect();
                Req::MultiRead(members)
            }
            81..=82 if self.character.era == Era::V39 => Req::CheckWatches(self.path(), self.watcher_type()),
            81..=84 => Req::RemoveWatches(self.path(), self.watcher_type()),
            85..=89 => self.add_watch(),
            90 => self.set_watches(),
            91..=92 => {
                let prefix = self.any_path();
                Req::GetEphemerals(self.dice.of(&[
                    prefix,
                    "!".to_owned(),
                    "!/".to_owned(),
                    "/".to_owned(),
                    "/a".to_owned(),
                ]))
            }
            93..=94 => Req::GetAllChildrenNumber(self.any_path()),
            95 => Req::WhoAmI,
            96 if !self.character.acl && self.character.era == Era::V39 => Req::DeleteContainer(self.path()),
            97 => Req::Reconfig {
                joining: self.dice.of(&[None, Some("server.5=localhost:1:2;3".to_owned())]),
                leaving: self.dice.of(&[None, Some("1".to_owned()), Some("x".to_owned())]),
                members: self.dice.of(&[None, Some("server.1=h:1:2;3".to_owned()), Some("nonsense".to_owned())]),
                from: self.dice.of(&[-1, 0, 7]),
            },
            98 => Req::NullAcl { op: self.dice.of(&[1, 15, 19, 7]), path: self.path() },
            _ => self.create_ttl(),
        }
    }

    fn oneshot(&mut self) -> bool {
        self.dice.percent(40) && self.character.watches.is_none_or(|kind| kind == 0)
    }

    fn add_watch(&mut self) -> Req {
        let path = self.any_path();
        let mode = match self.character.watches {
            Some(0) => 3,
            Some(1) => 0,
            Some(_) => 1,
            None => self.dice.of(&[0, 0, 0, 0, 1, 1, 1, 1, 2, -1]),
        };
        Req::AddWatch(path, mode)
    }

    fn watcher_type(&mut self) -> i32 {
        if self.character.era == Era::V38 {
            return self.dice.of(&[3, 3, 3, 0]);
        }
        self.dice.of(&[1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 0, 6, -1])
    }

    fn set_watches(&mut self) -> Req {
        let since =
            self.dice.of(&[Since::Back(0), Since::Back(1), Since::Back(5), Since::Back(30), Since::Zero, Since::Max]);
        let mut list = |kinds: &[usize]| -> Vec<String> {
            if self.character.watches.is_some_and(|kind| !kinds.contains(&kind)) {
                return Vec::new();
            }
            (0..self.dice.below(4)).map(|_| self.any_path()).collect()
        };
        let (data, exist, child) = (list(&[0]), list(&[0]), list(&[0]));
        let (persistent, recursive) = (list(&[1]), list(&[2]));
        if self.dice.percent(40) {
            Req::SetWatches(since, [data, exist, child])
        } else {
            Req::SetWatches2(since, [data, exist, child, persistent, recursive])
        }
    }

    fn create(&mut self) -> Req {
        let flags = self.flags();
        let op = self.dice.of(&[Op::Create, Op::Create, Op::Create2, Op::Create2, Op::CreateContainer]).as_i32();
        Req::Create { op, path: self.path_for(flags), data: self.data(), acl: self.acl(), flags }
    }

    fn create_ttl(&mut self) -> Req {
        let flags = self.dice.of(&[5, 5, 5, 6, 6, 0, 1, 4, 9]);
        Req::CreateTtl { path: self.path_for(flags), data: self.data(), acl: self.acl(), flags, ttl: self.ttl() }
    }

    fn ttl(&mut self) -> i64 {
        self.dice.of(&[1_000_000, 1_000_000, 0xFF_FFFF_FFFF, 1, 0x100_0000_0000, 0, i64::MAX])
    }

    fn flags(&mut self) -> i32 {
        self.dice.of(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, -1])
    }

    fn member_flags(&mut self) -> i32 {
        if self.character.era == Era::V38 { self.dice.of(&[0, 0, 0, 1, 2, 3]) } else { self.flags() }
    }

    fn path_for(&mut self, flags: i32) -> String {
        let path = self.path();
        if matches!(flags, 2 | 3 | 6) && self.dice.percent(30) { format!("{path}/") } else { path }
    }

    fn multi(&mut self) -> Req {
        // Java judges quotas by what is applied, so a multi with two changes is judged otherwise than here.
        let changes = if self.character.quota { 1 } else { 1 + self.dice.below(5) };
        let mut members: Vec<Member> = (0..changes).map(|_| self.member()).collect();
        for _ in 0..self.dice.below(3) {
            let at = self.dice.below(members.len() + 1);
            members.insert(at, Member::Check(self.path(), self.version()));
        }
        if self.dice.percent(2) {
            members.clear();
        }
        if self.dice.percent(2) && self.character.era == Era::V39 {
            members.push(Member::GetData(self.path()));
        }
        Req::Multi(members)
    }

    fn member(&mut self) -> Member {
        match self.dice.below(10) {
            0..=3 => {
                let flags = self.member_flags();
                let ops = [Op::Create, Op::Create, Op::Create2, Op::CreateContainer];
                let op = if self.character.era == Era::V38 { Op::Create } else { self.dice.of(&ops) };
                let flags = plain_container(op.as_i32(), flags);
                Member::Create {
                    op: op.as_i32(),
                    path: self.path_for(flags),
                    data: self.data(),
                    acl: self.acl(),
                    flags,
                }
            }
            4 if self.character.era == Era::V39 => {
                let flags = self.dice.of(&[5, 6, 5, 0]);
                Member::CreateTtl {
                    path: self.path_for(flags),
                    data: self.data(),
                    acl: self.acl(),
                    flags,
                    ttl: self.ttl(),
                }
            }
            4..=6 => Member::SetData(self.path(), self.data(), self.version()),
            7..=8 => Member::Delete(self.path(), self.version()),
            _ => Member::Check(self.path(), self.version()),
        }
    }

    fn mangled(&mut self) -> Req {
        let of = loop {
            match self.request() {
                // A changed byte may make a ttl negative, and Java dies of that.
                Req::CreateTtl { .. } | Req::Multi(_) | Req::Mangled { .. } | Req::Reconfig { .. } => {}
                request => break request,
            }
        };
        let mut mangled = (Some(self.dice.below(200)), Vec::new(), Vec::new());
        match self.dice.below(4) {
            0 => mangled = (None, Vec::new(), self.bytes()),
            1 | 2 if self.character.era == Era::V39 => {
                let flips =
                    (0..1 + self.dice.below(2)).map(|_| (self.dice.below(200), 1 << self.dice.below(8))).collect();
                mangled = (None, flips, Vec::new());
            }
            _ => {}
        }
        Req::Mangled { of: Box::new(of), cut: mangled.0, flips: mangled.1, tail: mangled.2 }
    }

    fn set_quota(&mut self, path: &str) {
        let count = self.dice.of(&[-1, 2, 4, 8]);
        let bytes = self.dice.of(&[-1, 10, 40, 100]);
        let limits = match self.dice.below(3) {
            0 => format!("count={count},bytes={bytes}"),
            1 => format!("count=-1,bytes=-1=;byteHardLimit={bytes};countHardLimit={count}"),
            _ => format!("count={count},bytes=-1=;byteHardLimit={bytes};countHardLimit=-1"),
        };
        let create = |path: String, data: &str| Req::Create {
            op: 1,
            path,
            data: Some(data.to_owned()),
            acl: vec![world(31)],
            flags: 0,
        };
        let slot = self.dice.below(SLOTS);
        let mut parts = Vec::new();
        for (at, _) in path.match_indices('/').skip(1) {
            parts.push(create(format!("?{}", &path[..at]), ""));
        }
        parts.push(create(format!("?{path}"), ""));
        parts.push(create(format!("?{path}/zookeeper_limits"), &limits));
        parts.push(create(format!("?{path}/zookeeper_stats"), "count=0,bytes=0"));
        for part in parts {
            self.send(slot, vec![part]);
        }
    }

    fn quota(&mut self) {
        let path = self.dice.of(&["/a", "/b", "/a/b", "/c", "/a/b/c"]);
        let slot = self.dice.below(SLOTS);
        match self.dice.below(6) {
            0 => {
                for name in ["zookeeper_limits", "zookeeper_stats"] {
                    self.send(slot, vec![Req::Delete(format!("?{path}/{name}"), Version::Is(-1))]);
                }
                self.send(slot, vec![Req::Delete(format!("?{path}"), Version::Is(-1))]);
            }
            1 => self.send(slot, vec![Req::GetData(format!("?{path}/zookeeper_stats"), true)]),
            2 => self.send(slot, vec![Req::GetData(format!("?{path}/zookeeper_limits"), true)]),
            _ => self.set_quota(path),
        }
    }

    /// A path to change something at.
    fn path(&mut self) -> String {
        match self.dice.below(60) {
            0 => self.odd_path(),
            1 => self.dice.of(&["!/", "!/zookeeper", "!/zookeeper/quota", "!/zookeeper/config", "/"]).to_owned(),
            _ => self.own_path(),
        }
    }

    /// A path to look at.
    fn any_path(&mut self) -> String {
        match self.dice.below(40) {
            0 => self.odd_path(),
            1 => self
                .dice
                .of(&["!/", "!", "!/zookeeper", "!/zookeeper/quota", "!/zookeeper/config", "/", "?"])
                .to_owned(),
            _ => self.own_path(),
        }
    }

    fn own_path(&mut self) -> String {
        // A few paths come again and again, so that requests meet.
        if self.dice.percent(50) {
            return self.dice.of(&["/a", "/b", "/a/b", "/a/a", "/b/a", "/c", "/a/b/c"]).to_owned();
        }
        match self.dice.below(20) {
            0..=1 => format!("@{}", self.dice.below(6)),
            2 => format!("@{}/x", self.dice.below(4)),
            3..=8 => format!("/{}", self.name()),
            9..=16 => format!("/{}/{}", self.name(), self.name()),
            _ => format!("/{}/{}/{}", self.name(), self.name(), self.name()),
        }
    }

    fn name(&mut self) -> &'static str {
        self.dice.of(&["a", "a", "b", "b", "c", "d", "é", "...", "a b", "zookeeper_limits"])
    }

    fn odd_path(&mut self) -> String {
        let odd = [
            "!",
            "!a",
            "!//",
            "!/.",
            "!/..",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a/../b",
            "/a/.",
            "/a/..",
            "/a\0b",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{a0}",
            "/\u{d7ff}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{f900}",
            "/\u{ffef}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{1F600}",
            "!\0",
            "!/\0",
            "/a/b/",
            "! ",
            "!/zookeeper/config/x",
            "!/zookeeper/quota/x/y",
            "/a/\u{301}",
        ];
        self.dice.of(&odd).to_owned()
    }

    fn version(&mut self) -> Version {
        match self.dice.below(20) {
            0..=8 => Version::Is(-1),
            9..=14 => Version::Seen(0),
            15 => Version::Seen(-1),
            16 => Version::Seen(1),
            17..=18 => Version::Is(0),
            _ => Version::Is(self.dice.of(&[1, 2, -2, i32::MAX, i32::MIN])),
        }
    }

    fn data(&mut self) -> Option<String> {
        let data = ["", "x", "yy", "0123456789", "count=1,bytes=1", "a somewhat longer text of some forty characters"];
        let choice = self.dice.below(data.len() + 1);
        data.get(choice).map(|data| (*data).to_owned())
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.dice.below(24)).map(|_| self.dice.of(&[0, 0, 0, 1, 4, 0xFF, b'/', b'a'])).collect()
    }

    fn acl(&mut self) -> Vec<Entry> {
        if !self.character.acl || self.dice.percent(35) {
            return vec![world(31)];
        }
        (0..1 + self.dice.below(2)).map(|_| self.entry()).collect()
    }

    fn entry(&mut self) -> Entry {
        let perms = self.dice.of(&[31, 31, 31, 1, 2, 4, 8, 16, 15, 30, 3, 0, 32, 63, -1]);
        let (scheme, id) = match self.dice.below(24) {
            0..=4 => ("world", "anyone"),
            5..=9 => ("auth", ""),
            // The ids of u1:p1 and u2:p2.
            10..=12 => ("digest", "u1:fpT/y03U+EjItKZOSLGvjnJlyng="),
            13 => ("digest", "u2:o9NxcCGDPOlcV7JVhmKHOf5ctVE="),
            14..=15 => ("ip", "127.0.0.1"),
            16 => {
                let more =
                    ["10.0.0.0/8", "127.0.0.0/8", "127.0.0.1/33", "1.2.3", "1.2.3.4/0", "x", "", "127.0.0.1/", "/8"];
                ("ip", self.dice.of(&more))
            }
            17 if self.character.era == Era::V39 => {
                ("ip", self.dice.of(&["::1", "::/0", "fe80::1/129", "::1/128", "1::2::3", ":::"]))
            }
            18 => ("digest", self.dice.of(&["u", "a:b:c", "", ":", "u:", ":x"])),
            19 => ("world", "someone"),
            20 => self.dice.of(&[
                ("nonsense", "x"),
                ("", ""),
                ("super", ""),
                ("x509", "CN=a"),
                ("sasl", "a"),
                ("key", "1"),
            ]),
            _ => ("world", "anyone"),
        };
        (perms, scheme.to_owned(), id.to_owned())
    }
}

/// A container with the flag of an ephemeral is one for Java until it is applied: its session's end deletes it, and it takes
/// no children. So what Java answers behind it is a matter of luck.
fn plain_container(op: i32, flags: i32) -> i32 {
    match flags {
        1 if op == Op::CreateContainer.as_i32() => 0,
        3 if op == Op::CreateContainer.as_i32() => 2,
        _ => flags,
    }
}

fn sets_acl(request: &Req) -> bool {
    match request {
        Req::SetAcl(..) => true,
        Req::Mangled { of, .. } => sets_acl(of),
        _ => false,
    }
}

fn world(perms: i32) -> Entry {
    (perms, "world".to_owned(), "anyone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_number_name_a_script() {
        assert_eq!(script(5, 3, 300, Era::V39), script(5, 3, 300, Era::V39));
        assert_ne!(script(5, 3, 300, Era::V39), script(5, 4, 300, Era::V39));
        assert_ne!(script(5, 3, 300, Era::V39), script(6, 3, 300, Era::V39));
    }

    /// Java would die, and with it the comparison.
    #[test]
    fn what_java_dies_of_is_never_drawn() {
        let fatal = |steps: &[Step]| {
            let text = serde_json::to_string(steps).expect("scripts are text");
            text.contains("\"ttl\":-") || text.contains("!/zookeeper/quota/zookeeper_")
        };
        assert!(fatal(&[Step::Send(0, vec![Req::GetAcl("!/zookeeper/quota/zookeeper_limits".to_owned())])]));
        for number in 0..200 {
            assert!(!fatal(&script(1, number, 300, Era::V39)), "script {number}");
        }
    }
}

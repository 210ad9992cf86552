//! Both servers in lockstep, and the first place where they differ.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::script::{Attach, Names, Req, Step, Version};
use crate::server::{Kind, SUPER_AUTH, Server};
use crate::side::{Era, Side};

/// The slot of the super user who looks at everything afterwards.
const WALKER: usize = 99;

/// Where the two differed.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Index of the step, or the length of the script if only the state afterwards differs.
    pub step: usize,
    /// What was done.
    pub what: String,
    /// What Java said.
    pub java: Vec<String>,
    /// What ours said.
    pub ours: Vec<String>,
}

/// Two servers.
#[derive(Debug)]
pub struct Pair {
    java: Side,
    ours: Side,
    /// Kept so that they end with the pair.
    servers: Vec<Server>,
    namespaces: u32,
    /// Slots that have not been read since some session was closed.
    closed_since: Vec<usize>,
    /// Requests of sessions so far, without those that look at the tree afterwards.
    pub requests: u64,
    /// Answers so far, by operation and error; events as an operation.
    pub tally: Tally,
}

/// Answers by operation and error.
pub type Tally = BTreeMap<String, BTreeMap<i32, u64>>;

impl Pair {
    /// Starts both on fresh directories.
    pub fn start(java: &Kind, ours: &Kind) -> std::io::Result<Pair> {
        let java = Server::start(java)?;
        let ours = Server::start(ours)?;
        let mut pair = Pair::of(java.addr(), ours.addr())?;
        pair.servers = vec![java, ours];
        Ok(pair)
    }

    /// Takes two running servers.
    pub fn of(java: SocketAddr, ours: SocketAddr) -> std::io::Result<Pair> {
        let text = client::four_letter(java, "srvr")?;
        let era = if text.contains("version: 3.8") { Era::V38 } else { Era::V39 };
        let java = Side::new(java, era)?;
        let mut ours = Side::new(ours, era)?;
        ours.counts_malformed = era == Era::V39;
        Ok(Pair {
            java,
            ours,
            servers: Vec::new(),
            namespaces: 0,
            closed_since: Vec::new(),
            requests: 0,
            tally: Tally::new(),
        })
    }

    /// What Java is.
    pub fn era(&self) -> Era {
        self.java.era
    }

    /// What the servers printed last.
    pub fn logs(&self) -> String {
        self.servers.iter().map(Server::log).collect::<Vec<_>>().join("\n--------\n")
    }

    /// Runs a script in a namespace of its own, looks at the whole tree, and leaves nothing behind.
    pub fn run(&mut self, steps: &[Step]) -> Result<(), Difference> {
        self.java.forget();
        self.ours.forget();
        self.closed_since.clear();
        self.namespaces += 1;
        let prefix = format!("/n{}", self.namespaces);
        self.java.learns = Some(Names { prefix: prefix.clone(), ..Names::default() });
        let walker = |pair: &mut Pair, requests: Vec<Req>| pair.step(steps.len(), &Step::Send(WALKER, requests));
        self.step(0, &Step::Open { slot: WALKER, timeout_ms: 1_000_000, read_only: Some(false) })?;
        let open = || vec![(31, "world".to_owned(), "anyone".to_owned())];
        let create = |path: String| Req::Create { op: 1, path, data: None, acl: open(), flags: 0 };
        walker(self, vec![Req::Auth("digest".to_owned(), SUPER_AUTH.to_owned())])?;
        walker(self, vec![create(format!("!{prefix}")), create(format!("!/zookeeper/quota{prefix}"))])?;
        for (index, step) in steps.iter().enumerate() {
            self.step(index, step)?;
        }
        for slot in 0..WALKER {
            if self.java.is_open(slot) {
                if !self.java.is_linked(slot) {
                    self.step(steps.len(), &Step::Attach(slot, Attach::Right))?;
                }
                self.step(steps.len(), &Step::Send(slot, vec![Req::Ping]))?;
            }
        }
        for slot in 0..WALKER {
            if self.java.is_open(slot) {
                self.step(steps.len(), &Step::Send(slot, vec![Req::CloseSession]))?;
            }
        }
        let mut found = vec!["/".to_owned()];
        let mut next = 0;
        while let Some(path) = found.get(next).cloned() {
            next += 1;
            let sent = format!("!{path}");
            walker(self, vec![Req::GetData(sent.clone(), false), Req::GetAcl(sent.clone())])?;
            let lines = self.step(steps.len(), &Step::Send(WALKER, vec![Req::GetChildren(sent, false)]))?;
            let names = lines.last().and_then(|line| line.split_once("err 0 ")).map_or("[]", |(_, names)| names);
            for name in serde_json::from_str::<Vec<String>>(names).unwrap_or_default() {
                found.push(format!("{}/{name}", path.trim_end_matches('/')));
            }
        }
        self.same(steps.len(), "totals", vec![self.java.totals()], vec![self.ours.totals()])?;
        let stays = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
        for path in found.into_iter().rev().filter(|path| !stays.contains(&path.as_str())) {
            walker(self, vec![Req::Delete(format!("!{path}"), Version::Is(-1))])?;
        }
        walker(self, vec![Req::CloseSession]).map(|_| ())
    }

    /// One step on both. Steps that make no sense now do nothing, so that scripts can be shortened.
    fn step(&mut self, index: usize, step: &Step) -> Result<Vec<String>, Difference> {
        let names = self.java.learns.clone().unwrap_or_default();
        let (java, ours) = (&mut self.java, &mut self.ours);
        match step {
            Step::Open { slot, timeout_ms, read_only } => {
                if java.is_open(*slot) {
                    return Ok(Vec::new());
                }
                let (a, b) = (java.open(*slot, *timeout_ms, *read_only), ours.open(*slot, *timeout_ms, *read_only));
                self.same(index, &format!("{step:?}"), vec![a], vec![b])
            }
            Step::Drop(slot) => {
                if !java.is_linked(*slot) {
                    return Ok(Vec::new());
                }
                self.step(index, &Step::Send(*slot, vec![Req::Ping]))?;
                let (a, b) = (self.java.drop_link(*slot), self.ours.drop_link(*slot));
                self.same(index, &format!("{step:?}"), vec![a], vec![b])
            }
            Step::Attach(slot, how) => {
                if !java.is_open(*slot) || (java.is_linked(*slot) && *how != Attach::Right) {
                    return Ok(Vec::new());
                }
                if java.is_linked(*slot) {
                    self.step(index, &Step::Send(*slot, vec![Req::Ping]))?;
                }
                let (a, b) = (self.java.attach(*slot, *how), self.ours.attach(*slot, *how));
                self.same(index, &format!("{step:?}"), a, b)
            }
            Step::Send(slot, requests) => {
                if !java.is_linked(*slot) {
                    return Ok(Vec::new());
                }
                if *slot != WALKER {
                    self.requests += requests.len() as u64;
                }
                java.send(*slot, requests, &names);
                ours.send(*slot, requests, &names);
                let closes = requests.iter().any(|request| matches!(request, Req::CloseSession));
                let sorted = closes || self.closed_since.contains(slot);
                let (a, b) = (java.collect(*slot, sorted), ours.collect(*slot, sorted));
                self.closed_since.retain(|other| other != slot);
                if closes {
                    self.closed_since = (0..=WALKER).collect();
                }
                self.same(index, &format!("{step:?}"), a, b)
            }
        }
    }

    fn same(
        &mut self,
        step: usize,
        what: &str,
        java: Vec<String>,
        ours: Vec<String>,
    ) -> Result<Vec<String>, Difference> {
        if java == ours || (java.len() == ours.len() && self.excused(&java, &ours)) {
            for line in &java {
                let mut words = line.split(' ');
                let name = words.next().unwrap_or_default();
                let err = words.skip_while(|word| *word != "err").nth(1).and_then(|err| err.parse().ok());
                *self.tally.entry(name.to_owned()).or_default().entry(err.unwrap_or(0)).or_default() += 1;
            }
            return Ok(java);
        }
        Err(Difference { step, what: what.to_owned(), java, ours })
    }

    /// Whether every differing line is a known difference of Debian's 3.8.
    fn excused(&self, java: &[String], ours: &[String]) -> bool {
        self.era() == Era::V38
            && java.iter().zip(ours).all(|(a, b)| {
                // exists needs READ since 3.8.4 and 3.9.2.
                a == b || (a.starts_with("exists ") && a.contains(" err 0 ") && b.contains(" err -102 "))
            })
    }
}

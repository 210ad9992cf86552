//! Membership changes: who is asked to come, to go or to vote, and what becomes of machines that are no members (yet, or any more).
//!
//! The operator is careful as far as ZooKeeper's manual wants him to be: who joins knows the configuration in force, and a machine that
//! was a member comes back with an empty disk only when nobody takes it for a voter any more. Otherwise he asks for anything at any time.

use std::collections::{BTreeMap, BTreeSet};

use quorum::view::QuorumView;

use super::operator::Order;
use super::{Event, Held, MS, SECOND, Simulation, hold};
use crate::ledger::CONFIG;
use crate::membership::{self, Change, Membership};
use crate::wire::Ask;

impl Simulation {
    /// A member keeps a configuration for its next start.
    pub(super) fn keep(&mut self, node: usize, view: &QuorumView, is_final: bool) {
        self.say(|| {
            let is = if is_final { "in force" } else { "proposed" };
            format!("node {} keeps configuration {:#x} as {is}", node + 1, view.version())
        });
        let settings = &mut self.machines[node].settings;
        if !is_final {
            settings.proposed = Some(view.to_text());
            return;
        }
        settings.view = view.to_text();
        let newer = |text: &String| Membership::parse(text).is_some_and(|seen| seen.version > view.version());
        settings.proposed = settings.proposed.take().filter(newer);
    }

    pub(super) fn is_member(&self, node: usize) -> bool {
        self.plan.machines() == 1 || self.ledger.view().members.contains_key(&node)
    }

    /// All configurations that somebody may go by: what is in force, what is proposed, and what members know, `besides` this one.
    fn views(&self, besides: Option<usize>) -> Vec<Membership> {
        let known = self.machines.iter().enumerate().filter(|(node, _)| Some(*node) != besides);
        let known = known.flat_map(|(_, machine)| [Some(&machine.settings.view), machine.settings.proposed.as_ref()]);
        let mut views: Vec<Membership> = known.flatten().filter_map(|text| Membership::parse(text)).collect();
        views.push(self.ledger.view().clone());
        views.append(&mut self.ledger.proposed_views());
        views
    }

    /// Whom anybody takes for a voter; `None` where a server stands alone.
    pub(super) fn may_vote(&self) -> Option<BTreeSet<usize>> {
        (self.plan.machines() > 1)
            .then(|| self.views(None).iter().flat_map(|view| view.voters().collect::<Vec<_>>()).collect())
    }

    // --- asking

    pub(super) fn reconfigure(&mut self) {
        // The first client is his own; another one has no right to it.
        let id = if self.dice.once_in(12) { self.dice.below(self.clients.len() as u64) as usize } else { 0 };
        let change = self.compose_change().filter(|_| !self.dice.once_in(4));
        let ask = change.map_or_else(|| Ask::Get(CONFIG.to_owned(), false), Ask::Reconfig);
        self.has_client_ask(id, ask);
        self.look_after_machines();
        if let Some(pause) = self.plan.operations.reconfigurations {
            let pause = self.dice.between(pause / 4, pause);
            self.agenda.after(pause, Event::Operator(Order::Reconfigure));
        }
    }

    fn has_client_ask(&mut self, id: usize, ask: Ask) -> bool {
        let now = self.now();
        let asked = self.clients[id].order(ask, now, &self.common);
        self.client_wants(id);
        asked
    }

    /// A client asks for a change. False: it cannot.
    pub fn ask_for(&mut self, client: usize, change: Change) -> bool {
        self.has_client_ask(client, Ask::Reconfig(change))
    }

    /// Has a client a connection and a session?
    pub fn is_connected(&self, client: usize) -> bool {
        self.clients[client].is_ready()
    }

    /// Answers to reconfigurations so far, by their errors.
    pub fn reconfigurations(&self) -> &BTreeMap<i32, u64> {
        &self.common.reconfigurations
    }

    fn compose_change(&self) -> Option<Change> {
        let view = self.ledger.view();
        let machines = self.machines.len();
        let anybody = || self.dice.below(machines as u64) as usize;
        let mut change = Change { from: -1, ..Change::default() };
        let outsiders: Vec<usize> = (0..machines).filter(|node| !view.members.contains_key(node)).collect();
        let members: Vec<usize> = view.members.keys().copied().collect();
        let mut kind = self.dice.below(8);
        if kind <= 4 && view.voters().count() <= 2 {
            kind = if outsiders.is_empty() { 5 } else { 0 };
        }
        let leaves = match self.leader().filter(|_| self.dice.once_in(3)) {
            Some(leader) => leader,
            None => *self.dice.pick(&members),
        };
        match kind {
            0..=2 | 6 => {
                if outsiders.is_empty() {
                    return None;
                }
                change.joining.insert(*self.dice.pick(&outsiders), !self.dice.once_in(3));
                if kind == 6 {
                    change.leaving.insert(leaves);
                }
            }
            3 | 4 => _ = change.leaving.insert(leaves),
            5 => _ = change.joining.insert(leaves, !view.votes(leaves)),
            _ => {
                change.whole = true;
                for node in 0..machines {
                    if !self.dice.once_in(3) {
                        change.joining.insert(node, !self.dice.once_in(4));
                    }
                }
                change.joining.entry(anybody()).or_insert(true);
            }
        }
        match self.dice.below(12) {
            0 | 1 if view.version != 0 => change.from = view.version,
            2 => change.from = 5,
            _ => {}
        }
        let voters = change.of(&view.members).values().filter(|votes| **votes).count();
        (voters > 1 || self.dice.once_in(4)).then_some(change)
    }

    // --- machines

    fn look_after_machines(&mut self) {
        for node in 0..self.machines.len() {
            let (member, retired) = (self.is_member(node), self.machines[node].retired);
            let order = match retired {
                true if member || self.dice.once_in(3) => Order::Enlist(node),
                false if !member && self.dice.once_in(3) => Order::Retire(node),
                _ => continue,
            };
            let pause = self.dice.between(MS, SECOND);
            self.agenda.after(pause, Event::Operator(order));
        }
    }

    /// Is there nobody who takes it for a voter, whatever it thinks of itself?
    fn is_forgotten(&self, node: usize) -> bool {
        self.views(Some(node)).iter().all(|view| !view.votes(node))
    }

    /// A machine that is no member any more is switched off.
    pub(super) fn retire(&mut self, node: usize) -> Held {
        let wanted = self.ledger.proposed_views().iter().any(|view| view.members.contains_key(&node));
        if self.is_member(node) || wanted || self.machines[node].retired {
            return Ok(());
        }
        self.say(|| format!("node {} is switched off", node + 1));
        self.kill(node, false)?;
        self.machines[node].retired = true;
        self.count_operation("MachineLeaves");
        Ok(())
    }

    /// A machine gets a configuration file. Who is no member yet knows the members, and counts itself among them until they tell it better.
    fn configure(&mut self, node: usize) {
        let view = self.ledger.view();
        let mut members = view.members.clone();
        let version = if members.contains_key(&node) { view.version } else { 0 };
        members.entry(node).or_insert(self.dice.once_in(2));
        let settings = &mut self.machines[node].settings;
        settings.view = membership::text(&members, version);
        settings.proposed = None;
    }

    /// A server does not start by a configuration in which it is not.
    pub(super) fn readmit(&mut self, node: usize) {
        let settings = &self.machines[node].settings;
        let knows_itself = |view: Membership| view.members.contains_key(&node);
        if settings.reconfig && !Membership::parse(&settings.view).is_some_and(knows_itself) {
            self.configure(node);
        }
    }

    /// A machine that is to be a member, or is one already, starts.
    pub fn enlist(&mut self, node: usize) -> Held {
        if !self.machines[node].retired {
            return Ok(());
        }
        if !self.machines[node].fresh && self.is_forgotten(node) && self.dice.once_in(2) {
            self.replace_disk(node);
        }
        let fresh = self.machines[node].fresh;
        if fresh || self.dice.once_in(2) {
            self.configure(node);
        }
        self.machines[node].retired = false;
        self.count_operation(if fresh { "MachineJoinsEmpty" } else { "MachineJoinsAgain" });
        self.start(node)
    }

    // --- the end

    /// Who is dead when the faults end, and stays so: fewer than half of the voters.
    pub(super) fn who_dies(&mut self) -> BTreeSet<usize> {
        let mut dead = BTreeSet::new();
        // A reconfiguration that is still on its way may need anybody.
        while self.plan.operations.reconfigurations.is_none() && dead.len() < self.plan.dead_at_end {
            dead.insert(self.dice.below(self.plan.voters as u64) as usize);
        }
        dead
    }

    /// Machines that are members, or may be soon, are switched on.
    pub(super) fn recall(&mut self) {
        let wanted: BTreeMap<usize, bool> = self.views(None).into_iter().flat_map(|view| view.members).collect();
        for node in 0..self.machines.len() {
            if self.machines[node].retired && wanted.contains_key(&node) {
                self.machines[node].retired = false;
                self.machines[node].boot_due = true;
                self.agenda.after(MS, Event::Boot(node));
            }
        }
    }

    /// All members that live go by the configuration that is in force.
    pub(super) fn go_by_one_view(&self) -> Held {
        let (made, view) = self.ledger.view_at(i64::MAX);
        let texts: BTreeMap<usize, String> = self
            .up()
            .filter(|node| self.is_member(*node))
            .filter_map(|node| Some((node, self.machines[node].node.as_ref()?.peer()?.view().to_text())))
            .collect();
        let first = texts.values().next().cloned().unwrap_or_default();
        let right = texts.values().all(|text| if made == 0 { *text == first } else { *text == view.text });
        hold(right, "ConfigurationsAreEqual", || {
            format!("in the end members go by {texts:?}, and {view:?} is in force")
        })
    }
}

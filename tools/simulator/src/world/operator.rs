//! The operator of an ensemble: hands leadership over, restarts one member after another, as the plan has it.
//!
//! He knows what an operator could know: who leads, who serves. What he does is judged as everything is, and besides: leadership
//! goes to nobody who lacks something of what the old leader made, and if nothing else happens, restarts cost no more than a moment.

use quorum::peer::{HandOver, PeerState, Phase};

use super::{Event, Held, MS, Micros, SECOND, Simulation, hex, hold};
use crate::node::Node;
use crate::sniff::{Said, Sniffer};

/// He looks at a rolling restart this often.
const LOOK: Micros = 25 * MS;
/// So long he waits for the ensemble to be well before he goes on with the next member all the same.
const PATIENCE: Micros = 4 * SECOND;
/// A process that is told to stop ends by then, whatever it is doing.
const STOP_MAX: Micros = 5 * SECOND;

/// What is on his agenda.
#[derive(Debug)]
pub(super) enum Order {
    HandOver,
    /// A rolling restart begins, or goes on.
    Roll,
    Reconfigure,
    /// A machine that is no member any more is switched off.
    Retire(usize),
    /// A machine is to be a member, and starts.
    Enlist(usize),
}

enum Stage {
    Next,
    Stopping(usize),
    Down(usize),
}

struct Roll {
    left: Vec<usize>,
    stage: Stage,
    /// Of this stage.
    since: Micros,
}

/// What he has begun.
#[derive(Default)]
pub(super) struct Operator {
    roll: Option<Roll>,
    /// Writes that were answered, and since when it is no more than that.
    answered: (u64, Micros),
    /// Who was told to hand over, and has not voted since.
    handing: Option<usize>,
    /// Who is to lead next.
    heir: Option<usize>,
}

impl Simulation {
    /// What the plan wants of him is put on the agenda.
    pub(super) fn employ(&mut self) {
        let operations = self.plan.operations.clone();
        if let Some(pause) = operations.hand_overs {
            self.agenda.after(pause, Event::Operator(Order::HandOver));
        }
        if let Some(pause) = operations.reconfigurations {
            self.agenda.after(pause, Event::Operator(Order::Reconfigure));
        }
        if let Some(at) = operations.rolling {
            self.agenda.after(at, Event::Operator(Order::Roll));
        }
    }

    pub(super) fn operate(&mut self, order: &Order) -> Held {
        if self.calm {
            return Ok(());
        }
        match order {
            Order::HandOver => {
                let leader = self.leader().filter(|leader| self.machines[*leader].paused.is_none());
                leader.map_or(Ok(None), |leader| self.hand_over(leader))?;
                if let Some(pause) = self.plan.operations.hand_overs {
                    let pause = self.dice.between(pause / 4, pause);
                    self.agenda.after(pause, Event::Operator(Order::HandOver));
                }
            }
            Order::Reconfigure => self.reconfigure(),
            Order::Retire(node) => self.retire(*node)?,
            Order::Enlist(node) => self.enlist(*node)?,
            Order::Roll => {
                if self.operator.roll.is_none() {
                    self.begin_roll();
                }
                self.roll()?;
                if self.operator.roll.is_some() {
                    self.agenda.after(LOOK, Event::Operator(Order::Roll));
                }
            }
        }
        Ok(())
    }

    pub(super) fn count_operation(&mut self, what: &'static str) {
        *self.counts.operations.entry(what).or_default() += 1;
    }

    /// Asks something of a member, and does what it wants.
    fn ask<T>(&mut self, node: usize, question: impl FnOnce(&mut Node) -> T) -> Result<Option<T>, super::Violation> {
        let (now, at) = (self.clock(node), self.now());
        let machine = &mut self.machines[node];
        let Some(member) = machine.node.as_mut() else { return Ok(None) };
        let before = machine.disk.moments();
        member.set_now(now, at);
        let answer = question(member);
        self.after_node(node, before)?;
        Ok(Some(answer))
    }

    // --- hand-over

    /// A member is told to hand over leadership.
    pub fn hand_over(&mut self, node: usize) -> Result<Option<HandOver>, super::Violation> {
        self.operator.handing = Some(node);
        let outcome = self.ask(node, Node::hand_over)?.flatten();
        self.say(|| format!("node {} is to hand over: {outcome:?}", node + 1));
        if let Some(HandOver::To(heir)) = outcome {
            self.count_operation("HandOver");
            self.operator.heir = Some(heir.0 as usize - 1);
        }
        Ok(outcome)
    }

    /// Somebody begins to serve as leader.
    pub(super) fn reigns(&mut self, node: usize) {
        if self.operator.heir.take() == Some(node) {
            self.count_operation("HandedOver");
        }
    }

    /// Whoever was told to hand over, and does not lead any more, speaks on an election link: its vote is for nobody who lacks something.
    pub(super) fn hears_of_heir(&mut self, node: usize, bytes: &[u8]) -> Held {
        let leads = |state: PeerState| state.phase == Phase::Leading;
        if self.operator.handing != Some(node) || self.machines[node].state.is_some_and(leads) {
            return Ok(());
        }
        // A hello begins with a number below zero, a vote with a length.
        let said = Sniffer::election(bytes.first() == Some(&0xFF)).read(bytes).unwrap_or_default();
        for one in said {
            let Said::Vote { state: 0, leader, zxid, .. } = one else { continue };
            self.operator.handing = None;
            let heir = leader as usize - 1;
            if leader < 1 || heir == node || heir >= self.machines.len() {
                continue;
            }
            let has = self.ledger.durable_of(heir);
            let wanted = self.ledger.end_of(zxid);
            hold(has >= wanted || self.machines[heir].rotten || self.machines[heir].fresh, "HandOverIsWhole", || {
                format!("node {} votes for {leader} with {}, which has {}", node + 1, hex(zxid), hex(has))
            })?;
        }
        Ok(())
    }

    // --- rolling restarts

    fn begin_roll(&mut self) {
        let mut left: Vec<usize> = (0..self.machines.len()).collect();
        for at in 1..left.len() {
            left.swap(at, self.dice.below(at as u64 + 1) as usize);
        }
        let now = self.now();
        self.operator.roll = Some(Roll { left, stage: Stage::Next, since: now });
        self.operator.answered = (self.answered_writes(), now);
    }

    fn answered_writes(&self) -> u64 {
        self.clients.iter().map(|client| client.writes).sum()
    }

    fn is_well(&self) -> bool {
        self.leader().is_some() && self.ledger.view().members.keys().all(|node| self.serves(*node))
    }

    fn roll(&mut self) -> Held {
        let now = self.now();
        self.look_at_outage(now)?;
        let Some(mut roll) = self.operator.roll.take() else { return Ok(()) };
        let waited = now - roll.since;
        let next = match roll.stage {
            Stage::Next => match self.is_well() || waited >= PATIENCE {
                false => None,
                true => {
                    let Some(node) = roll.left.pop() else {
                        self.count_operation("RollingRestart");
                        return Ok(());
                    };
                    let can = self.machines[node].paused.is_none();
                    let told = if can { self.ask(node, Node::stop_reading)? } else { None };
                    Some(if told.is_some() { Stage::Stopping(node) } else { Stage::Next })
                }
            },
            Stage::Stopping(node) if self.machines[node].node.is_none() => Some(Stage::Down(node)),
            Stage::Stopping(node) => {
                let paused = self.machines[node].paused.is_some();
                let done = !paused && self.ask(node, Node::may_end)?.unwrap_or(true);
                if done || waited >= STOP_MAX {
                    self.stop(node)?;
                    Some(Stage::Down(node))
                } else {
                    None
                }
            }
            Stage::Down(node) => self.machines[node].node.is_some().then_some(Stage::Next),
        };
        if let Some(stage) = next {
            roll = Roll { stage, since: now, ..roll };
        }
        self.operator.roll = Some(roll);
        Ok(())
    }

    /// A process ends that was told to.
    fn stop(&mut self, node: usize) -> Held {
        let end = self.machines[node].disk.moments();
        if self.machines[node].node.is_some() {
            self.count_operation("RollingStop");
            self.crash(node, false, end)?;
        }
        Ok(())
    }

    /// If nothing but a rolling restart happens, it is not long until a write is answered again.
    fn look_at_outage(&mut self, now: Micros) -> Held {
        let answered = self.answered_writes();
        if answered != self.operator.answered.0 {
            self.operator.answered = (answered, now);
            return Ok(());
        }
        let outage = now - self.operator.answered.1;
        let Some(most) = self.plan.operations.outage_max else { return Ok(()) };
        self.counts.outage = self.counts.outage.max(outage);
        hold(outage <= most, "Availability", || {
            format!("{} ms without an answer to a write, while one member after another starts again", outage / MS)
        })
    }

    /// A rolling restart begins now, and goes on by itself while faults may strike.
    pub fn restart_all(&mut self) -> Held {
        self.operate(&Order::Roll)
    }

    /// Each group of a member's log takes so long from now on.
    pub fn delay_writes(&mut self, node: usize, delay: (Micros, Micros)) {
        self.machines[node].settings.write_delay = delay;
        self.slow(node);
    }

    /// Is one going on?
    pub fn restarts(&self) -> bool {
        self.operator.roll.is_some()
    }
}

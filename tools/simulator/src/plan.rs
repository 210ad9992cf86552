//! What a run is: everything that is decided before it begins, from its seed.

use member::LocalSessions;

use crate::agenda::{MS, Micros, SECOND};
use crate::client::{ClientSettings, Habits};
use crate::dice::Dice;
use crate::java;
use crate::membership;
use crate::network::Weather;
use crate::operations::Operations;

/// Classes of faults, each with the weight that it has among the others; 0 = never.
#[derive(Clone, Debug)]
pub struct FaultMix(pub Vec<(Fault, u64)>);

/// What can go wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// A process is killed; what it has written is in its machine.
    Kill,
    /// A machine loses its power: unsynced writes and names may be lost, torn.
    PowerCut,
    /// A process is killed, or the power cut, between two effects of one step, or within one.
    CrashAtEffect,
    /// All processes are killed at once, or all power goes.
    Blackout,
    /// A process stands still for a while.
    Pause,
    /// One member is cut off from all others.
    Isolate,
    /// The members fall into two groups.
    Split,
    /// Two groups that only one member reaches both of.
    Bridge,
    /// One way between two members is cut, the way back is not.
    OneWay,
    /// Clients lose sight of a member, which is well.
    ClientCut,
    /// A connection is torn.
    Tear,
    /// The network becomes slow.
    Storm,
    /// A write or a sync of a disk fails.
    DiskError,
    /// A disk is full for a while.
    DiskFull,
    /// A disk is slow for a while.
    DiskSlow,
    /// A machine comes back with an empty disk.
    DiskReplaced,
    /// Some bits of a log or a snapshot of a machine that is down are others, or a sector of it lies where another should be.
    Rot,
    /// A wall clock jumps.
    ClockJump,
    /// A client falls silent for ever.
    ClientGone,
}

/// All classes.
pub const FAULTS: [Fault; 19] = [
    Fault::Kill,
    Fault::PowerCut,
    Fault::CrashAtEffect,
    Fault::Blackout,
    Fault::Pause,
    Fault::Isolate,
    Fault::Split,
    Fault::Bridge,
    Fault::OneWay,
    Fault::ClientCut,
    Fault::Tear,
    Fault::Storm,
    Fault::DiskError,
    Fault::DiskFull,
    Fault::DiskSlow,
    Fault::DiskReplaced,
    Fault::Rot,
    Fault::ClockJump,
    Fault::ClientGone,
];

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// Members that vote.
    pub voters: usize,
    /// Members that do not.
    pub observers: usize,
    /// Clients, and how they are.
    pub clients: Vec<ClientSettings>,
    /// `tickTime`
    pub tick_ms: i64,
    /// `snapCount`
    pub snap_count: u64,
    /// A group of the log takes so long.
    pub write_delay: (Micros, Micros),
    /// Shards of each member.
    pub shards: usize,
    /// The network on a good day.
    pub weather: Weather,
    /// Faults strike until then.
    pub faults_end: Micros,
    /// Pause between two faults, at most.
    pub fault_pause: Micros,
    /// What strikes.
    pub mix: FaultMix,
    /// `commitLogCount`
    pub history_max: usize,
    /// `forceSnapshotSync`
    pub force_snapshot_sync: bool,
    /// `leaderServes`
    pub leader_serves: bool,
    /// `readonlymode.enabled`, with a wait of two ticks
    pub read_only_mode: bool,
    /// What clients do in this run and not in others, and which sessions they get.
    pub habits: Habits,
    /// Behind so many transactions of an epoch the next begins. A server alone does not look at it.
    pub rollover_counter: u32,
    /// Members that stay dead when the faults end: fewer than half of the voters.
    pub dead_at_end: usize,
    /// What operators do.
    pub operations: Operations,
    /// Members with Java's habits, by their numbers from zero.
    pub java: Vec<usize>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64) -> Plan {
        let dice = Dice::new(seed, 0x9147);
        let voters = *dice.pick(&[3, 3, 3, 3, 5, 5, 7, 1]);
        let observers = if voters > 1 && dice.once_in(3) { dice.between(1, 2) as usize } else { 0 };
        let tick_ms = *dice.pick(&[100, 200, 200, 500]);
        let fast = (20, 400);
        let delay = *dice.pick(&[fast, fast, fast, (100, 5_000), (50, 30_000)]);
        let clients = (0..dice.between(1, 5))
            .map(|_| ClientSettings {
                timeout_ms: tick_ms as i32 * dice.between(4, 20) as i32,
                depth: *dice.pick(&[1, 1, 2, 6]),
                think: *dice.pick(&[3 * MS, 30 * MS, 200 * MS]),
                members: voters + observers,
                names: dice.between(2, 5),
            })
            .collect();
        // Some classes are left out of most runs: what is rare among many is common among few.
        let mut mix = Vec::new();
        for fault in FAULTS {
            let weight = match fault {
                Fault::Blackout | Fault::ClientGone | Fault::DiskReplaced => dice.below(2),
                _ if dice.once_in(2) => dice.between(1, 6),
                _ => 0,
            };
            mix.push((fault, weight));
        }
        if dice.once_in(20) {
            mix.iter_mut().for_each(|(_, weight)| *weight = 0);
        }
        let kinds = Dice::new(seed, 0x4AB1);
        let local_sessions = match kinds.below(15) {
            0 if voters > 1 => LocalSessions::On,
            1 | 2 if voters > 1 => LocalSessions::Upgraded,
            _ => LocalSessions::Off,
        };
        let habits =
            Habits { lasting_watches: kinds.once_in(2), rights: kinds.once_in(3), local_sessions, operator: false };
        let java = java::members(seed, voters + observers);
        let mut plan = Plan {
            seed,
            habits,
            voters,
            observers,
            clients,
            tick_ms,
            snap_count: *dice.pick(&[20, 60, 200, 1000]),
            write_delay: *dice.pick(&[(100, 400), (200, 3_000), (1_000, 20_000)]),
            shards: *dice.pick(&[1, 1, 2]),
            weather: Weather {
                delay,
                late_once_in: *dice.pick(&[0, 0, 200, 30]),
                late: dice.between(5, 300) * MS,
                speed: *dice.pick(&[1_000, 100, 10]),
            },
            faults_end: dice.between(5, 30) * SECOND,
            fault_pause: *dice.pick(&[300 * MS, SECOND, 3 * SECOND]),
            mix: FaultMix(mix),
            history_max: *dice.pick(&[64, 64, 200, 500]),
            // Java's snapshots are what matters most of it.
            force_snapshot_sync: dice.once_in(if java.is_empty() { 12 } else { 3 }),
            leader_serves: voters == 1 || !dice.once_in(12),
            read_only_mode: seed.is_multiple_of(2),
            rollover_counter: if Dice::new(seed, 0x7011).once_in(4) { 100 } else { 0xFFFF_0000 },
            dead_at_end: if dice.once_in(3) {
                dice.below(voters as u64 / 2 + 1).min((voters as u64 - 1) / 2) as usize
            } else {
                0
            },
            operations: Operations::default(),
            java,
        };
        plan.operations = Operations::new(seed, plan.members(), plan.faults_end);
        plan.habits.operator = plan.operations.reconfigurations.is_some();
        let machines = plan.machines();
        plan.clients.iter_mut().for_each(|client| client.members = machines);
        if plan.operations.outage_max.is_some() {
            plan.mix.0.iter_mut().for_each(|(_, weight)| *weight = 0);
        }
        plan
    }

    /// The same run without faults.
    pub fn calm(seed: u64) -> Plan {
        let mut plan = Plan::new(seed);
        plan.mix.0.iter_mut().for_each(|(_, weight)| *weight = 0);
        plan.dead_at_end = 0;
        plan.rollover_counter = 0xFFFF_0000;
        plan.operations = Operations::default();
        plan.java = Vec::new();
        plan.habits.operator = false;
        let members = plan.members();
        plan.clients.iter_mut().for_each(|client| client.members = members);
        plan
    }

    /// The configuration of the ensemble; empty for a server alone.
    pub fn view(&self) -> String {
        if self.members() == 1 {
            return String::new();
        }
        membership::text(&(0..self.members()).map(|number| (number, number < self.voters)).collect(), 0)
    }

    /// How late a leader may hear that a member has heard from a client: members tell it with their answers to its pings, and where
    /// something is wrong it may wait for these, or stand still itself, as long as others bear with it.
    pub fn slack(&self) -> Micros {
        let well = self.mix.0.iter().all(|(_, weight)| *weight == 0);
        let late = if self.weather.late_once_in > 0 { self.weather.late } else { 0 };
        (if well { 3 } else { 12 }) * self.tick_ms as Micros * MS + 4 * (late + self.weather.delay.1)
    }

    /// Members in all, when it begins.
    pub fn members(&self) -> usize {
        self.voters + self.observers
    }

    /// Machines in all: members, and who may become one.
    pub fn machines(&self) -> usize {
        self.members() + self.operations.spares
    }
}

//! A moment of a run as tables for a terminal: members with their watermarks, links with what is on its way, clients.

use comfy_table::Table;
use quorum::peer::PeerState;

use crate::ledger::hex;
use crate::world::Simulation;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.set_header(header.to_vec());
    table
}

/// What a member is, in words.
fn role(state: Option<PeerState>) -> [String; 3] {
    match state {
        None => ["-".into(), "-".into(), "-".into()],
        Some(state) => [
            format!("{:?}/{:?}{}", state.phase, state.zab, if state.serving { " serves" } else { "" }),
            state.leader.map_or("-".into(), |sid| sid.to_string()),
            state.epoch.to_string(),
        ],
    }
}

/// A member for the view.
pub struct MemberView {
    /// `up`, `paused`, `down`, `no power`.
    pub process: &'static str,
    /// What it is.
    pub state: Option<PeerState>,
    /// Accepted and current epoch.
    pub epochs: (i64, i64),
    /// Logged, durable, final, as it says itself.
    pub marks: (i64, i64, i64),
    /// What it has shown to clients.
    pub delivered: i64,
}

/// A link for the view.
pub struct LinkView {
    /// What it is for, and between whom.
    pub what: String,
    /// Bytes on their way there, and back.
    pub flying: (usize, usize),
    /// The ways there and back are cut.
    pub cut: (bool, bool),
}

/// The moment that a simulation is at.
pub fn show(simulation: &Simulation) -> String {
    let mut text = format!(
        "seed {}, {:.6} s, {} transactions delivered, the last is {}\n",
        simulation.plan.seed,
        simulation.now() as f64 / 1e6,
        simulation.ledger.entries().len(),
        hex(simulation.ledger.last())
    );
    let mut members = table(&[
        "member", "process", "role", "leader", "epoch", "accepted", "current", "logged", "durable", "final", "shown",
    ]);
    for (number, member) in simulation.members().into_iter().enumerate() {
        let [role, leader, epoch] = role(member.state);
        let (logged, durable, last) = member.marks;
        members.add_row(vec![
            (number + 1).to_string(),
            member.process.into(),
            role,
            leader,
            epoch,
            member.epochs.0.to_string(),
            member.epochs.1.to_string(),
            hex(logged),
            hex(durable),
            hex(last),
            hex(member.delivered),
        ]);
    }
    let mut links = table(&["link", "bytes there", "bytes back", "cut"]);
    for link in simulation.links() {
        let cut = match link.cut {
            (false, false) => "",
            (true, false) => "there",
            (false, true) => "back",
            (true, true) => "both",
        };
        links.add_row(vec![link.what, link.flying.0.to_string(), link.flying.1.to_string(), cut.into()]);
    }
    let mut clients = table(&["client", "state"]);
    for (id, client) in simulation.describe_clients().into_iter().enumerate() {
        clients.add_row(vec![id.to_string(), client]);
    }
    for part in [members, links, clients] {
        text.push_str(&part.to_string());
        text.push('\n');
    }
    text
}

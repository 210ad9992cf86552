//! The words: which file answers which, what each wants to know, and what each changes.

mod conf;
mod cons;
mod crst;
mod dirs;
mod dump;
mod envi;
mod gtmk;
mod hand;
mod hash;
mod isro;
mod mntr;
mod ruok;
mod srst;
mod srvr;
mod stat;
mod stmk;
mod wchc;
mod wchp;
mod wchs;

use member::word::{HAND, Word};

use crate::{Facts, Role};

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// The answer to a word, as sent before the connection closes. Whether the word is allowed is [`crate::Whitelist`]'s
/// business. A name that is no word of [`member::word::WORDS`] has an empty answer.
pub fn answer(word: Word, facts: &Facts) -> String {
    match word.name {
        "ruok" => ruok::text(),
        "isro" => isro::text(facts),
        "gtmk" => gtmk::text(facts),
        "stmk" => stmk::text(word, facts),
        HAND => hand::text(facts),
        "envi" => envi::text(facts),
        // Only `hash` leaves out the line's end here, as in 3.9.5.
        "hash" if facts.role == Role::NotServing => NOT_SERVING.to_owned(),
        _ if facts.role == Role::NotServing => format!("{NOT_SERVING}\n"),
        "conf" => conf::text(facts),
        "cons" => cons::text(facts),
        "crst" => crst::text(),
        "dirs" => dirs::text(facts),
        "dump" => dump::text(facts),
        "hash" => hash::text(facts),
        "mntr" => mntr::text(facts),
        "srst" => srst::text(),
        "srvr" => srvr::text(facts),
        "stat" => stat::text(facts),
        "wchs" => wchs::text(facts),
        "wchc" => wchc::text(facts),
        "wchp" => wchp::text(facts),
        _ => String::new(),
    }
}

/// What a word wants to know beyond counters and what is fixed: these cost something to gather.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// [`Facts::connections`], from every shard.
    pub connections: bool,
    /// [`Facts::watches`], from every shard.
    pub watches: bool,
    /// [`Facts::watch_counts`], from every shard.
    pub watch_counts: bool,
    /// [`Facts::writes`], from the write stage.
    pub writes: bool,
    /// [`Facts::quorum`], from the write stage of a member of an ensemble.
    pub quorum: bool,
    /// Leadership is to be handed over by the write stage of a member of an ensemble, which says what it does in [`Facts::writes`].
    pub hand_over: bool,
    /// [`Facts::bytes`], from the file system.
    pub bytes: bool,
    /// [`Facts::descriptors`] and [`Facts::memory`], from the system.
    pub process: bool,
}

/// See [`Needs`].
pub fn needs(word: Word) -> Needs {
    let nothing = Needs::default();
    match word.name {
        "cons" => Needs { connections: true, ..nothing },
        "stat" => Needs { connections: true, quorum: true, ..nothing },
        "srvr" => Needs { quorum: true, ..nothing },
        "dump" => Needs { connections: true, writes: true, ..nothing },
        "hash" => Needs { writes: true, ..nothing },
        "wchs" => Needs { watch_counts: true, ..nothing },
        "wchc" | "wchp" => Needs { watches: true, ..nothing },
        HAND => Needs { hand_over: true, ..nothing },
        "conf" => Needs { bytes: true, quorum: true, ..nothing },
        "dirs" => Needs { bytes: true, ..nothing },
        "mntr" => Needs { process: true, quorum: true, ..nothing },
        "envi" => Needs { process: true, ..nothing },
        _ => nothing,
    }
}

/// What a word changes; the caller does it. Nothing is changed while nothing is served, the mask apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// `crst`: every connection forgets its counters.
    ResetConnections,
    /// `srst`: shards and write stage forget all that they counted; `mntr` begins anew too. What connections count stays.
    ResetServer,
    /// `stmk`: later [`Facts::trace_mask`] is this.
    SetTraceMask(i64),
}

/// See [`Effect`].
pub fn effect(word: Word, role: Role) -> Effect {
    match (word.name, word.mask) {
        ("stmk", Some(mask)) => Effect::SetTraceMask(mask),
        _ if role == Role::NotServing => Effect::None,
        ("crst", _) => Effect::ResetConnections,
        ("srst", _) => Effect::ResetServer,
        _ => Effect::None,
    }
}

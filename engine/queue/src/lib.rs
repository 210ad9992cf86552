//! The hop from one thread to another: bounded rings with one producer and one consumer, a bell for the sleeper, and a
//! broadcast of one thread to several.
//!
//! A stage that feeds another owns a [`Producer`]; the other owns the [`Consumer`] and one [`Bell`] for all the rings
//! it reads. The protocol, in full:
//!
//! * producer: push a batch, then [`Bell::ring`] once;
//! * consumer: drain; when everything is empty, [`Bell::prepare_sleep`], look at every ring once more, sleep only if
//!   they are still empty, and [`Bell::awake`] afterwards.
//!
//! What always holds: items come out in the order they went in, none is lost or seen twice, a full ring gives the item
//! back, and a consumer that sleeps although there is an item has a wake on its way. Both are loom models in `tests/loom.rs`.
//! Kept out: how a thread sleeps and how it is woken, which is for those who act.

mod bell;
pub mod broadcast;
mod ring;
mod sync;

pub use bell::Bell;
pub use ring::{Consumer, Producer, channel};

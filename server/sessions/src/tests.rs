//! Stories of single sessions, then random histories against a model that does at every request what the tracker puts off.

use super::*;
use proptest::prelude::*;

const SETTINGS: Settings = Settings { tick_ms: 2000, timeout_min_ms: 4000, timeout_max_ms: 40_000 };

fn tracker() -> Tracker {
    Tracker::new(SETTINGS)
}

#[test]
fn ids_are_those_of_java() {
    // Captured from `SessionTrackerImpl.initializeNextSessionId(1)` of 3.9.5 at 1799565 ms.
    let mut ids = Ids::new(1, Millis(1_799_565));
    assert_eq!(ids.next(|_| false), SessionId(0x100_001b_758d_0000));
    assert_eq!(ids.next(|_| false), SessionId(0x100_001b_758d_0001));
    assert_eq!(ids.next(|id| id.0 < 0x100_001b_758d_0005), SessionId(0x100_001b_758d_0005));
    assert_eq!(Ids::new(0x80, Millis(0)).next(|_| false), SessionId(i64::MIN + 1), "not the owner of containers");
    assert_eq!(Ids::new(0, Millis(0)).next(|_| false), SessionId(1));
}

#[test]
fn expiry_is_the_multiple_of_the_tick_behind_the_timeout() {
    // Captured from `ExpiryQueue.update` of 3.9.5 with a tick of 2000 at 1799592 ms.
    assert_eq!(tracker().expiry(Millis(1_799_592), 4000), Millis(1_804_000));
    assert_eq!(tracker().expiry(Millis(1_799_592), 1), Millis(1_800_000));
    assert_eq!(tracker().expiry(Millis(0), 4000), Millis(6000), "never less than the timeout");
}

#[test]
fn timeouts_are_clamped() {
    assert_eq!([-1, 0, 4000, 5000, i32::MAX].map(|ms| tracker().negotiate(ms)), [4000, 4000, 4000, 5000, 40_000]);
}

#[test]
fn a_silent_session_expires_once_and_is_known_until_it_is_closed() {
    let mut tracker = tracker();
    let id = SessionId(7);
    tracker.open(id, 4000, Millis(0));
    assert_eq!(tracker.next_expiry(), Some(Millis(6000)));
    assert_eq!(tracker.expire(Millis(5999)), []);
    assert_eq!(tracker.expire(Millis(6000)), [id]);
    assert_eq!(tracker.expire(Millis(9000)), []);
    assert_eq!(tracker.check(id), Err(Code::SessionExpired));
    assert!(tracker.reattach(id, 4000, Millis(6001)).is_none());
    assert!(tracker.pulse(id).is_none());
    assert!(tracker.is_known(id));
    assert!(tracker.close(id));
    assert!(!tracker.close(id));
    assert_eq!(tracker.check(id), Err(Code::UnknownSession));
    assert_eq!(tracker.count(), 0);
}

#[test]
fn a_beat_keeps_a_session_alive() {
    let mut tracker = tracker();
    let id = SessionId(7);
    let pulse = tracker.open(id, 4000, Millis(0));
    pulse.beat(Millis(5500));
    assert_eq!(tracker.expire(Millis(6000)), []);
    assert_eq!(tracker.next_expiry(), Some(Millis(10_000)));
    assert_eq!(tracker.expire(Millis(9999)), []);
    assert_eq!(tracker.expire(Millis(10_000)), [id]);
}

#[test]
fn a_shorter_timeout_after_a_reattachment_counts_at_once() {
    let mut tracker = tracker();
    let id = SessionId(7);
    tracker.open(id, 40_000, Millis(0));
    tracker.reattach(id, 4000, Millis(1000)).unwrap();
    assert_eq!(tracker.expire(Millis(6000)), [id]);
}

#[test]
fn a_session_that_closes_does_not_expire() {
    let mut tracker = tracker();
    tracker.open(SessionId(7), 4000, Millis(0));
    tracker.open(SessionId(8), 4000, Millis(0));
    assert!(tracker.begin_close(SessionId(7)));
    assert!(!tracker.begin_close(SessionId(7)));
    assert!(tracker.close(SessionId(8)));
    assert_eq!(tracker.expire(Millis(100_000)), []);
    assert_eq!(tracker.list(), [(SessionId(7), 4000)]);
}

#[test]
fn the_dump_is_that_of_java() {
    let mut tracker = tracker();
    let pulse = tracker.open(SessionId(0x1000_0002), 4000, Millis(0));
    tracker.open(SessionId(0x1000_0001), 4000, Millis(100));
    tracker.open(SessionId(0x1000_0003), 30_000, Millis(0));
    pulse.beat(Millis(500));
    let mut text = String::new();
    tracker.dump(&mut text, |at| format!("<{}>", at.0));
    assert_eq!(
        text,
        "Session Sets (2)/(3):\n2 expire at <6000>:\n\t0x10000001\n\t0x10000002\n1 expire at <32000>:\n\t0x10000003\n"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Open(i64, i32),
    Beat(i64),
    Reattach(i64, i32),
    BeginClose(i64),
    Close(i64),
    Expire,
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..8i64;
    let timeout = prop_oneof![Just(4000), 4000..40_000i32];
    prop_oneof![
        2 => (id.clone(), timeout.clone()).prop_map(|(id, timeout)| Step::Open(id, timeout)),
        4 => id.clone().prop_map(Step::Beat),
        1 => (id.clone(), timeout).prop_map(|(id, timeout)| Step::Reattach(id, timeout)),
        1 => id.clone().prop_map(Step::BeginClose),
        1 => id.prop_map(Step::Close),
        4 => Just(Step::Expire),
        4 => (0..9000i64).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Modelled {
    timeout_ms: i32,
    expires_ms: i64,
    closing: bool,
}

proptest! {
    /// The model moves a session whenever it is heard of, as Java does; the tracker must answer alike.
    #[test]
    fn putting_off_is_not_observable(steps in prop::collection::vec(step(), 1..200)) {
        let rule = |now: i64, timeout_ms: i32| ((now + i64::from(timeout_ms)) / 2000 + 1) * 2000;
        let mut model: BTreeMap<i64, Modelled> = BTreeMap::new();
        let mut tracker = tracker();
        let mut pulses: BTreeMap<i64, Arc<Pulse>> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Open(id, timeout_ms) => {
                    pulses.insert(id, tracker.open(SessionId(id), timeout_ms, Millis(now)));
                    let entry = model.entry(id).or_insert(Modelled { timeout_ms, expires_ms: 0, closing: false });
                    entry.expires_ms = rule(now, entry.timeout_ms);
                }
                Step::Beat(id) => {
                    // A pulse of a session that is gone stays in some connection's hands and must harm nobody.
                    if let Some(pulse) = pulses.get(&id) {
                        pulse.beat(Millis(now));
                        if let Some(entry) = model.get_mut(&id) {
                            entry.expires_ms = rule(now, entry.timeout_ms);
                        }
                    }
                }
                Step::Reattach(id, timeout_ms) => {
                    let alive = model.get_mut(&id).filter(|entry| !entry.closing);
                    prop_assert_eq!(tracker.reattach(SessionId(id), timeout_ms, Millis(now)).is_some(), alive.is_some());
                    if let Some(entry) = alive {
                        *entry = Modelled { timeout_ms, expires_ms: rule(now, timeout_ms), closing: false };
                    }
                }
                Step::BeginClose(id) => {
                    let alive = model.get_mut(&id).filter(|entry| !entry.closing);
                    prop_assert_eq!(tracker.begin_close(SessionId(id)), alive.is_some());
                    if let Some(entry) = alive {
                        entry.closing = true;
                    }
                }
                Step::Close(id) => prop_assert_eq!(tracker.close(SessionId(id)), model.remove(&id).is_some()),
                Step::Expire => {
                    let mut expired = Vec::new();
                    for (id, entry) in &mut model {
                        if !entry.closing && entry.expires_ms <= now {
                            entry.closing = true;
                            expired.push(SessionId(*id));
                        }
                    }
                    if !expired.is_empty() {
                        prop_assert!(tracker.next_expiry().is_some_and(|next| next.0 <= now));
                    }
                    prop_assert_eq!(tracker.expire(Millis(now)), expired);
                }
                Step::Wait(ms) => now += ms,
            }
            let list: Vec<_> = model.iter().map(|(id, entry)| (SessionId(*id), entry.timeout_ms)).collect();
            prop_assert_eq!(tracker.list(), list);
            let mut buckets: BTreeMap<Millis, Vec<SessionId>> = BTreeMap::new();
            for (id, entry) in model.iter().filter(|(_, entry)| !entry.closing) {
                buckets.entry(Millis(entry.expires_ms)).or_default().push(SessionId(*id));
            }
            prop_assert_eq!(tracker.buckets(), buckets);
        }
    }
}

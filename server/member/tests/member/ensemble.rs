//! One member of three that finds none of the others. What members do together is the simulator's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::{Disk, MemoryDisk};
use member::LocalSessions;
use member::ensemble::{Parts, Store};
use proto::{Millis, SessionId, Sid};
use quorum::peer::{Peer, PeerSettings};
use quorum::view::QuorumView;
use snapshot::RestoreOptions;
use snapshot::epochs::Epochs;
use tree::Writer;

use crate::wire::Hello;
use crate::world::{START_MS, World};

/// What makes member 1 of this ensemble, which has no history.
pub fn parts(view: &str) -> Parts {
    let view = QuorumView::parse(view).unwrap();
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/data")).unwrap();
    Parts {
        peer: Peer::new(PeerSettings::new(Sid(1)), view, Millis(START_MS)),
        epochs: Epochs { accepted: 0, current: 0 },
        store: Store {
            disk: Arc::new(disk),
            data_dir: PathBuf::from("/data"),
            log_dir: PathBuf::from("/log"),
            options: RestoreOptions::new(tree::Options::new((1, 2))),
        },
        leader_serves: true,
        read_only_after_ms: None,
        local_sessions: LocalSessions::Off,
        reconfig_enabled: false,
        history_max: 500,
    }
}

/// Three members.
pub const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

/// With a session of thirty seconds, from before.
fn lone_member() -> World {
    World::with(|o| {
        o.restored = Some((Writer::new(tree::Options::new((1, 2))), vec![(SessionId(0x2_0000), 30_000)]));
        o.ensemble = Some(parts(THREE));
    })
}

#[test]
fn nobody_is_served_without_a_leader() {
    let mut w = lone_member();
    let client = w.socket(0, "10.0.0.1");
    w.hello(client, &Hello::default());
    w.pump_all();
    assert!(w.client(client).closed && w.client(client).welcome.is_none());
}

/// The ends of the sessions that were there before are the next leader's business: a clock that waited for them would not let the thread
/// sleep.
#[test]
fn a_member_without_a_leader_sleeps_although_sessions_from_before_are_past_their_time() {
    let mut w = lone_member();
    w.mono += 3_000_000;
    let now = w.now();
    w.stage.step(now, &mut Vec::new());
    assert!(w.stage.next_deadline() > Millis(w.mono), "{:?}", w.stage.next_deadline());
}

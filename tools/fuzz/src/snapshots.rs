//! Snapshots: two bytes (how the file is packed, and the zxid in its name), then its content.
//!
//! A fuzzer does not guess checksums. Where the loader finds one wrong, it is put right and the loader asked again. What it
//! accepts is written as a snapshot, in one way of packing or another, and is the same tree when it is loaded again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use host::{Disk, MemoryDisk};
use proto::{SessionId, Zxid};
use snapshot::{Compression, Encoder, Loaded, SnapshotJob, Source, Why, load};
use tree::{OwnerRules, Writer};

use crate::same::is_faithful;

const DIR: &str = "/data/version-2";

/// A tree with TTL znodes, as the server's default is.
pub(crate) fn tree_options() -> tree::Options {
    let rules = OwnerRules { extended_types: true, emulate_353: false };
    tree::Options { rules, ..tree::Options::new((1, 2)) }
}

/// Everything of a database that a client or a peer could see.
pub(crate) fn dump(tree: &mut Writer, sessions: &BTreeMap<SessionId, i32>) -> String {
    let mut text = format!("zxid {} digest {:#x}\n", tree.tip(), tree.digest());
    for (session, timeout) in sessions {
        writeln!(text, "session {session} {timeout}").expect("a string takes everything");
    }
    tree.reader().walk("/", |path, view| {
        let line = writeln!(text, "{path} {:?} {:?} {:?}", view.data(), view.acl(), view.persisted());
        line.expect("a string takes everything");
    });
    text
}

/// Fuzz target.
pub fn snapshot(input: &[u8]) {
    let [packing, name, content @ ..] = input else { return };
    let zxid = Zxid(match name {
        0..=0xEF => i64::from(*name) << (packing >> 4),
        0xF0 => i64::MAX,
        0xF1 => i64::MIN,
        0xF2 => -1,
        _ => i64::from(*name as i8),
    });
    let file = match packing & 15 {
        0 => content.to_vec(),
        1 => sealed(content.to_vec(), zxid),
        2 => packed(&sealed(content.to_vec(), zxid), Compression::Gz),
        3 => packed(&sealed(content.to_vec(), zxid), Compression::Snappy),
        // A compressed stream whose inside is whatever comes out.
        4 => [&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0][..], content].concat(),
        5 => [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], content].concat(),
        _ => return,
    };
    if let Ok(loaded) = load(&file, zxid, tree_options()) {
        let packing = [Compression::None, Compression::Gz, Compression::Snappy][usize::from(*name) % 3];
        again(loaded, packing, is_faithful(content));
    }
}

/// The content with every checksum put right that the loader comes to.
fn sealed(mut content: Vec<u8>, zxid: Zxid) -> Vec<u8> {
    // Where it is wrong is said in uncompressed bytes.
    for _ in 0..if Compression::of(&content) == Compression::None { 3 } else { 0 } {
        let Err(error) = load(&content, zxid, tree_options()) else { break };
        let Why::Checksum { computed, .. } = error.why else { break };
        let end = error.offset as usize;
        content[end - 8..end].copy_from_slice(&i64::from(computed).to_be_bytes());
    }
    content
}

fn packed(content: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), compression);
    encoder.write_all(content).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn again(loaded: Loaded, compression: Compression, faithful: bool) {
    let (mut tree, sessions) = (loaded.tree, loaded.sessions);
    let before = dump(&mut tree, &sessions);
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new(DIR)).expect("memory takes everything");
    let listed = sessions.iter().map(|(session, timeout)| (*session, *timeout)).collect();
    let source = Source::of(&mut tree, listed);
    let written = SnapshotJob::write(&disk, Path::new(DIR), compression, source).expect("memory takes everything");
    let file = disk.read(&written.path).expect("it was written");
    let again = load(&file, tree.tip(), tree_options()).expect("what was written can be loaded");
    assert_eq!(again.last_zxid, Some(tree.tip()));
    assert_eq!(again.nodes, written.nodes);
    let (mut tree, sessions) = (again.tree, again.sessions);
    let after = dump(&mut tree, &sessions);
    if faithful {
        assert_eq!(before, after);
    }
}

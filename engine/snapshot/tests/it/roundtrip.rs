//! Writing and loading: the same tree, whatever the compression and the slices; nothing damaged is taken for whole.

use std::path::Path;

use host::Disk;
use proto::Zxid;
use snapshot::{Compression, SnapshotWriter, StreamLoader, Why, load};

use crate::kit::*;

fn grown(seed: u64, count: usize) -> World {
    println!("seed {seed}");
    let mut world = World::open(&disk(), seed);
    world.run(count);
    world
}

fn written(world: &mut World, compression: Compression) -> Vec<u8> {
    let path = world.snapshot(compression).path;
    world.disk.read(&path).unwrap().to_vec()
}

#[test]
fn a_snapshot_loads_to_an_equal_tree_in_every_compression() {
    for seed in 0..8 {
        let mut world = grown(seed, 200);
        let before = world.dump();
        for compression in [Compression::None, Compression::Gz, Compression::Snappy] {
            let bytes = written(&mut world, compression);
            let mut loaded = load(&bytes, world.tree.tip(), tree_options()).unwrap();
            assert_eq!(dump(&mut loaded.tree, &loaded.sessions), before);
            assert_eq!(loaded.last_zxid, Some(world.tree.tip()));
            let digest = loaded.digest.unwrap();
            assert_eq!((digest.zxid, digest.tree), (world.tree.tip(), world.tree.digest()));
        }
    }
}

#[test]
fn slices_of_any_budget_make_the_same_file_while_the_tree_goes_on_changing() {
    let mut world = grown(3, 300);
    let whole = written(&mut world, Compression::None);
    for budget in [1, 100, 5000] {
        let mut world = grown(3, 300);
        let mut writer = SnapshotWriter::new(Vec::new(), world.source());
        let mut steps = 0;
        while !writer.step(budget).unwrap() {
            steps += 1;
            world.run(1);
        }
        assert!(steps > 1);
        assert_eq!(writer.finish().0, whole);
    }
}

#[test]
fn sections_are_told_by_their_length() {
    let mut world = grown(1, 50);
    let zxid = world.tree.tip();
    let digest = world.tree.digest();
    for (with_digest, with_zxid, left) in [(true, true, 54), (true, false, 33), (false, false, 0), (false, true, 54)] {
        let mut source = world.source();
        source.digest = source.digest.filter(|_| with_digest);
        source.last_zxid = with_zxid;
        let mut writer = SnapshotWriter::new(Vec::new(), source);
        while !writer.step(1000).unwrap() {}
        let bytes = writer.finish().0;
        let loaded = load(&bytes, zxid, tree_options()).unwrap();
        assert_eq!(loaded.digest.map(|digest| digest.tree), with_digest.then_some(digest));
        assert_eq!(loaded.last_zxid, with_zxid.then_some(zxid));
        if left == 54 {
            // Only the zxid section, as a writer without digests might leave it: the seal must still fit.
            let body = bytes.len() - 54;
            let mut only: Vec<u8> = bytes[..body].to_vec();
            only.extend_from_slice(&zxid.0.to_be_bytes());
            let sum = simd_adler32(&only);
            only.extend_from_slice(&i64::from(sum).to_be_bytes());
            only.extend_from_slice(&[0, 0, 0, 1, b'/']);
            let loaded = load(&only, zxid, tree_options()).unwrap();
            assert_eq!((loaded.digest, loaded.last_zxid), (None, Some(zxid)));
        }
        let mut more = bytes.clone();
        more.push(0);
        assert!(load(&more, zxid, tree_options()).is_err());
    }
}

/// Adler-32 written down again, so that the test does not trust what it tests.
fn simd_adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

#[test]
fn a_snapshot_cut_anywhere_or_with_any_byte_changed_is_refused() {
    let mut world = grown(2, 40);
    let bytes = written(&mut world, Compression::None);
    let zxid = world.tree.tip();
    let ends = [bytes.len() - 54, bytes.len() - 21];
    for cut in (0..bytes.len()).filter(|cut| !ends.contains(cut)) {
        assert!(load(&bytes[..cut], zxid, tree_options()).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(load(&damaged, zxid, tree_options()).is_err(), "byte {at}");
    }
}

#[test]
fn errors_say_where() {
    let mut world = grown(2, 40);
    let mut bytes = written(&mut world, Compression::None);
    assert_eq!(
        load(b"something", Zxid(1), tree_options()).unwrap_err().to_string(),
        "offset 0: this is not a snapshot"
    );
    let seal = bytes.len() - 54 - 13;
    bytes[seal + 7] ^= 1;
    let error = load(&bytes, Zxid(1), tree_options()).unwrap_err();
    assert!(matches!(error.why, Why::Checksum { .. }) && error.offset == seal as u64 + 8, "{error}");
}

#[test]
fn a_snapshot_bears_its_name_only_when_it_is_durable() {
    let mut world = grown(5, 60);
    let zxid = world.tree.tip();
    let start = world.disk.moments();
    let path = world.snapshot(Compression::None).path;
    let mut kept = 0;
    for moment in start..=world.disk.moments() {
        for keep in [false, true] {
            let image = world.disk.crash(moment, &mut || keep);
            if let Ok(bytes) = image.read(&path) {
                load(&bytes, zxid, tree_options()).unwrap();
                kept += 1;
            }
        }
    }
    assert!(kept > 0);
    assert!(world.disk.list(Path::new(SNAPS)).unwrap().iter().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn a_spoilt_file_of_any_compression_is_refused_and_never_fatal() {
    let seed = 0x5A5A;
    println!("seed {seed:#x}");
    let random = host::SeededEntropy::new(seed);
    let mut world = grown(7, 120);
    let (zxid, before) = (world.tree.tip(), world.dump());
    for compression in [Compression::None, Compression::Gz, Compression::Snappy] {
        let whole = written(&mut world, compression);
        for round in 0..800 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                let end = (at + 1 + random.below(64) as usize).min(bytes.len());
                match random.below(3) {
                    0 => bytes[at..end].fill(random.below(256) as u8),
                    1 => bytes[at] ^= 1 << random.below(8),
                    _ => bytes.truncate(end),
                }
            }
            // A change may hit what no reader looks at: a name in the gzip header, the version numbers of snappy.
            if let Ok(mut loaded) = load(&bytes, zxid, tree_options()) {
                let same = dump(&mut loaded.tree, &loaded.sessions) == before;
                assert!(same, "round {round} of {compression:?}: another tree");
            }
        }
    }
}

#[test]
fn a_stream_to_a_learner_loads_to_an_equal_tree_in_pieces_of_any_size_and_its_end_is_found() {
    let mut world = grown(9, 300);
    let before = world.dump();
    for piece in [1, 7, 1000, usize::MAX] {
        let mut writer = SnapshotWriter::bare(Vec::new(), world.source());
        let mut bytes = Vec::new();
        while !writer.step(300).unwrap() {
            bytes.append(writer.out());
        }
        bytes.append(writer.out());
        let length = bytes.len();
        bytes.extend_from_slice(b"what follows belongs to the protocol");
        let mut loader = StreamLoader::new(tree_options(), 1 << 20);
        let mut at = 0usize;
        let end = loop {
            let next = bytes.len().min(at.saturating_add(piece));
            if let Some(used) = loader.push(&bytes[at..next]).unwrap() {
                break at + used;
            }
            at = next;
        };
        assert_eq!(end, length);
        let (mut tree, sessions) = loader.finish(world.tree.tip()).unwrap();
        assert_eq!(dump(&mut tree, &sessions), before);
    }
}

#[test]
fn a_stream_that_is_none_is_refused_and_not_waited_for() {
    let mut world = grown(4, 20);
    let mut writer = SnapshotWriter::bare(Vec::new(), world.source());
    writer.step(usize::MAX).unwrap();
    let mut bytes = std::mem::take(writer.out());
    let end = bytes.len();
    bytes[end - 1] ^= 1;
    let mut loader = StreamLoader::new(tree_options(), 1 << 20);
    assert!(matches!(loader.push(&bytes), Err(Why::Seal)));
    let mut loader = StreamLoader::new(tree_options(), 1 << 10);
    let endless = [&[0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff][..], &[b'a'; 2000]].concat();
    assert!(matches!(loader.push(&endless), Err(Why::Field(_))), "a path of two gigabytes");
}

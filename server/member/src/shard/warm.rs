//! Looking ahead in a burst of requests, so that the tree's memory is fetched for many reads together instead of one after the
//! other. A hint and nothing else: whatever is not understood here is left to the parser.

use proto::Op;
use tree::Reader;

/// Where a request's path begins: behind length, xid, operation and the path's own length.
const PATH_AT: usize = 16;

/// Fetches what the reads at the front of `bytes`, a session's frames, will look at. Nothing for a lone read, which gains nothing.
pub(super) fn warm(tree: &Reader, bytes: &[u8]) {
    if bytes.len() > frame_bytes(bytes) && tree.outgrows_caches() {
        tree.warm(paths(bytes));
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(i32::from_be_bytes)
}

/// The frame at the front with its length; more than there is, if that is no length.
fn frame_bytes(bytes: &[u8]) -> usize {
    number(bytes, 0)
        .and_then(|length| usize::try_from(length).ok())
        .map_or(usize::MAX, |length| length.saturating_add(4))
}

/// The paths of the reads among the complete frames.
fn paths(mut bytes: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let frame = bytes.get(..frame_bytes(bytes))?;
        bytes = &bytes[frame.len()..];
        Some(frame)
    })
    .filter_map(|frame| {
        let reads =
            matches!(Op::from_i32(number(frame, 8)?)?, Op::GetData | Op::Exists | Op::GetChildren | Op::GetChildren2);
        let length = usize::try_from(number(frame, 12)?).ok()?;
        let path = frame.get(PATH_AT..PATH_AT.checked_add(length)?)?;
        str::from_utf8(path).ok().filter(|_| reads)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(op: Op, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [13 + path.len() as i32, 7, op.as_i32(), path.len() as i32] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(path.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn the_paths_of_reads_are_found_between_other_requests() {
        let frames = [
            frame(Op::GetData, "/a"),
            frame(Op::SetData, "/b"),
            frame(Op::Exists, "/c/d"),
            frame(Op::Ping, ""),
            frame(Op::GetChildren2, "/e"),
        ];
        let bytes = frames.concat();
        assert_eq!(paths(&bytes).collect::<Vec<_>>(), ["/a", "/c/d", "/e"]);
        // The last frame is not complete.
        assert_eq!(paths(&bytes[..bytes.len() - 1]).collect::<Vec<_>>(), ["/a", "/c/d"]);
    }

    #[test]
    fn bytes_that_are_no_requests_have_no_paths() {
        for bytes in [
            &b""[..],
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\x7f\xff\xff\xff0000",
            b"\0\0\0\x0c\0\0\0\x01\0\0\0\x04\x7f\xff\xff\xff",
        ] {
            assert_eq!(paths(bytes).count(), 0, "{bytes:?}");
        }
    }
}

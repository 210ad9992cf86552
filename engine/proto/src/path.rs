//! What makes a znode path valid (client-protocol.md §13), and the arithmetic of parents and names.

/// Why a path is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// The empty path.
    #[error("the path is empty")]
    Empty,
    /// Not absolute.
    #[error("the path does not start with /")]
    Relative,
    /// A slash at the end.
    #[error("the path ends with /")]
    TrailingSlash,
    /// Two slashes in a row.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// `.` or `..` as a component.
    #[error("the path has a relative component")]
    DotComponent,
    /// NUL, control, surrogate, private-use or unassigned character.
    #[error("the path has the character U+{0:04X}")]
    Character(u32),
}

/// Checks the full path rules.
pub fn check(path: &str) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    match bytes {
        [] => return Err(PathError::Empty),
        [b'/'] => return Ok(()),
        [b'/', ..] => {}
        _ => return Err(PathError::Relative),
    }
    if bytes[bytes.len() - 1] == b'/' {
        return Err(PathError::TrailingSlash);
    }
    if !bytes.iter().all(|b| (0x20..0x7F).contains(b)) {
        for c in path.chars() {
            let u = c as u32;
            if matches!(u, 0..=0x1F | 0x7F..=0x9F | 0xD800..=0xF8FF | 0xFFF0..) {
                return Err(PathError::Character(u));
            }
        }
    }
    let mut start = 1;
    for at in 1..=bytes.len() {
        if at == bytes.len() || bytes[at] == b'/' {
            match &bytes[start..at] {
                b"" => return Err(PathError::EmptyComponent),
                b"." | b".." => return Err(PathError::DotComponent),
                _ => {}
            }
            start = at + 1;
        }
    }
    Ok(())
}

/// Splits a path into parent and name: `/a/b` → (`/a`, `b`), `/a` → (`/`, `a`). `None` without any slash, and for `/`
/// the parent is `/` and the name is empty.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let slash = path.rfind('/')?;
    let parent = if slash == 0 { "/" } else { &path[..slash] };
    Some((parent, &path[slash + 1..]))
}

/// The parent of a valid path other than `/`; `/` is its own parent.
pub fn parent(path: &str) -> &str {
    split(path).map_or("/", |(parent, _)| parent)
}

/// Is the znode one of the four that can never be deleted?
pub fn is_reserved(path: &str) -> bool {
    matches!(path, "/" | "/zookeeper" | "/zookeeper/quota" | "/zookeeper/config")
}

/// The first component of a path: `/a/b` → `a`; `None` for `/`.
pub fn top_namespace(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_path_utils() {
        for good in ["/", "/a", "/a/b", "/a/...", "/.a/b.", "/ä/\u{FFEF}", "/a b"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        let bad = [
            ("", PathError::Empty),
            ("a", PathError::Relative),
            ("/a/", PathError::TrailingSlash),
            ("//", PathError::TrailingSlash),
            ("/a//b", PathError::EmptyComponent),
            ("/a/./b", PathError::DotComponent),
            ("/..", PathError::DotComponent),
            ("/a\0", PathError::Character(0)),
            ("/\u{7f}", PathError::Character(0x7f)),
            ("/\u{e000}", PathError::Character(0xe000)),
            ("/\u{fff0}", PathError::Character(0xfff0)),
            ("/\u{1F600}", PathError::Character(0x1F600)),
        ];
        for (path, error) in bad {
            assert_eq!(check(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/"), Some(("/", "")));
        assert_eq!(split("/a/"), Some(("/a", "")));
        assert_eq!(split("a"), None);
    }
}

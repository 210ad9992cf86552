//! The `sasl` scheme as far as ACLs go: what an id may look like and whom it names. The exchange of tokens is not here.

/// Is this text an id? Anything without `@`, or `name[/host]@REALM` (any of the parts may be empty).
pub(crate) fn is_valid(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((name, realm)) => !realm.contains(['/', '@']) && name.matches('/').count() <= 1,
    }
}

/// Does the caller's id satisfy the entry? The user `super` satisfies every entry, and `anyone_as` (letAnySaslUserDoX)
/// is an entry that every user satisfies.
pub(crate) fn matches(caller: &str, entry: &str, anyone_as: Option<&str>) -> bool {
    caller == "super" || caller == entry || anyone_as == Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_that_of_java() {
        for id in ["", "bob", "bob@", "@R", "bob@R", "bob/h@R", "/h@R", "bob/@R", "bob/h", "bob/h/i", "super", "b ob"] {
            assert!(is_valid(id), "{id:?}");
        }
        for id in ["bob/h/i@R", "a@b@c", "bob@R/x"] {
            assert!(!is_valid(id), "{id:?}");
        }
    }

    #[test]
    fn super_satisfies_every_entry_and_a_named_entry_everybody() {
        assert!(matches("super", "bob", None));
        assert!(!matches("bob", "super", None));
        assert!(matches("bob", "team", Some("team")));
        assert!(!matches("bob", "team", None));
    }
}

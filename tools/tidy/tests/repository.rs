//! The repository that holds this test obeys its own rules.

use std::path::Path;

#[test]
fn repository_obeys_its_own_rules() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let repository = tidy::Repository::read(root).expect("the repository can be read");
    let violations: Vec<String> = tidy::check(&repository).iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

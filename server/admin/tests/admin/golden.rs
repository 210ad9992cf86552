//! The captured answers.

/// The servers that were asked.
pub(crate) const KINDS: [&str; 2] = ["java38", "java395"];

/// What a server of this kind answered.
pub(crate) fn golden(kind: &str, file: &str) -> String {
    let path = format!("{}/tests/admin/golden/{kind}/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The version text of that server.
pub(crate) fn java_version(kind: &str) -> String {
    let text = golden(kind, "srvr");
    let line = text.lines().next().and_then(|line| line.strip_prefix("Zookeeper version: "));
    line.expect("srvr begins with the version").to_owned()
}

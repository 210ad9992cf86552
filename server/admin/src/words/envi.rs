//! `envi`: the surroundings, under Java's names. What only a Java machine has is `<NA>`, ZooKeeper's own word for an absent
//! value. The memory keys are those of 3.9; 3.10 names them `jvm.memory.*`.

use std::fmt::Write;

use crate::Facts;

const ABSENT: &str = "<NA>";

pub(super) fn text(facts: &Facts) -> String {
    let host = &facts.server.host;
    let mut out = "Environment:\n".to_owned();
    _ = writeln!(out, "zookeeper.version={}", facts.server.version);
    let arch = host.os_arch.as_deref().map(java_arch);
    for (key, value) in [
        ("host.name", host.host_name.as_deref()),
        ("java.version", None),
        ("java.vendor", None),
        ("java.home", None),
        ("java.class.path", None),
        ("java.library.path", None),
        ("java.io.tmpdir", host.temp_dir.as_deref()),
        ("java.compiler", None),
        ("os.name", host.os_name.as_deref()),
        ("os.arch", arch),
        ("os.version", host.os_version.as_deref()),
        ("user.name", host.user_name.as_deref()),
        ("user.home", host.user_home.as_deref()),
        ("user.dir", host.user_dir.as_deref()),
    ] {
        _ = writeln!(out, "{key}={}", value.unwrap_or(ABSENT));
    }
    let memory = &facts.memory;
    for (key, bytes) in [("free", memory.free), ("max", memory.max), ("total", memory.total)] {
        let value = bytes.map_or(ABSENT.to_owned(), |bytes| format!("{}MB", bytes >> 20));
        _ = writeln!(out, "os.memory.{key}={value}");
    }
    out
}

/// Java's name of an architecture that Rust names otherwise.
fn java_arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "powerpc64" => "ppc64",
        other => other,
    }
}

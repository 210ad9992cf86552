//! Stamps the binary with the time of its build, for the version line (`SOURCE_DATE_EPOCH` makes it reproducible).

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let seconds =
        given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()));
    // Not RINGKEEPER_…: `cargo run` hands it to the server, which would take it for a setting.
    println!("cargo:rustc-env=BUILT_SECONDS={seconds}");
}

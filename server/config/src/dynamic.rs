//! The files that a reconfiguration leaves behind (peer-protocol.md §10.2): texts only, and the names of the files. Who writes them sees to it
//! that each is whole and durable before it has its name.

use std::path::{Path, PathBuf};

use proto::Sid;
use quorum::view::QuorumView;

use crate::properties;

/// The file of a configuration that is final: `<zoo.cfg>.dynamic.<version>`.
pub fn final_file(static_file: &Path, version: i64) -> PathBuf {
    beside(static_file, &format!(".dynamic.{version:x}"))
}

/// The file of a configuration that was proposed: `<zoo.cfg>.dynamic.next`.
pub fn proposed_file(static_file: &Path) -> PathBuf {
    beside(static_file, ".dynamic.next")
}

/// What the main file was before its membership went elsewhere: `<zoo.cfg>.bak`.
pub fn backup_file(static_file: &Path) -> PathBuf {
    beside(static_file, ".bak")
}

/// Whether the membership has left the main file.
pub fn is_converted(text: &[u8]) -> bool {
    properties::parse(text).0.iter().any(|pair| pair.key == "dynamicConfigFile")
}

fn beside(static_file: &Path, suffix: &str) -> PathBuf {
    let mut name = static_file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The text of either: sorted lines, the version only where it is not in the file's name.
pub fn dynamic_text(view: &QuorumView, with_version: bool) -> String {
    let text = view.to_text();
    let mut lines: Vec<&str> = text.lines().filter(|line| with_version || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

/// What becomes of the main file: its membership goes, and the name of the dynamic file comes. As with Java's servers, comments and
/// order are lost. The client's port goes too when the member's line has it.
pub fn static_text(text: &[u8], dynamic_file: &Path, view: &QuorumView, id: Sid) -> String {
    let erases_client = view.member(id).is_some_and(|member| member.client.is_some());
    let (pairs, _) = properties::parse(text);
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for pair in &pairs {
        let key = pair.key.as_str();
        let membership = ["server.", "group", "weight"].iter().any(|prefix| key.starts_with(prefix));
        let client = erases_client && ["clientPort", "clientPortAddress"].contains(&key);
        if membership || client || ["dynamicConfigFile", "peerType"].contains(&key) {
            continue;
        }
        kept.retain(|(before, _)| *before != key);
        kept.push((key, &pair.value));
    }
    let file = dynamic_file.display().to_string();
    kept.push(("dynamicConfigFile", &file));
    kept.iter().map(|(key, value)| properties::line(key, value) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconfiguration_moves_the_membership_out_of_the_main_file() {
        let text = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer\nversion=100000003";
        let view = QuorumView::parse(text).expect("a configuration");
        let cfg = Path::new("/etc/zoo.cfg");
        assert_eq!(final_file(cfg, view.version()), Path::new("/etc/zoo.cfg.dynamic.100000003"));
        assert_eq!(proposed_file(cfg), Path::new("/etc/zoo.cfg.dynamic.next"));
        let members = "server.1=a:2888:3888:participant;0.0.0.0:2181\nserver.2=b:2888:3888:observer\n";
        assert_eq!(dynamic_text(&view, false), members);
        assert_eq!(dynamic_text(&view, true), format!("{members}version=100000003\n"));
        let before = b"# ours\ntickTime=2000\nserver.1=a:2888:3888\nclientPort=2181\ndataDir=/d\npeerType=observer\n";
        let at = Path::new("/etc/zoo.cfg.dynamic.100000003");
        let after = "tickTime=2000\ndataDir=/d\ndynamicConfigFile=/etc/zoo.cfg.dynamic.100000003\n";
        assert_eq!(static_text(before, at, &view, Sid(1)), after);
        let odd = b"dataDir=C:\\\\zk \\u00e9\nserver.1=a:1:2\nauthProvider.1 : a\\\n  b\n";
        let after = "dataDir=C:\\\\zk \\u00e9\nauthProvider.1=ab\ndynamicConfigFile=/etc/zoo.cfg.dynamic.100000003\n";
        assert_eq!(static_text(odd, at, &view, Sid(2)), after, "what was escaped stays escaped");
        let keeps = "tickTime=2000\nclientPort=2181\ndataDir=/d\ndynamicConfigFile=/etc/zoo.cfg.dynamic.100000003\n";
        assert_eq!(static_text(before, at, &view, Sid(2)), keeps, "its line has no address for clients");
    }
}

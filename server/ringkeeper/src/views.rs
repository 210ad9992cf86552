//! The files of the ensemble's configuration, written when it changes. Rare, small, and done at once: what is read at the next start
//! must be what was agreed on.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use config::dynamic;
use proto::Sid;
use quorum::view::QuorumView;

/// Where they are.
pub struct ViewFiles {
    /// `zoo.cfg`
    pub static_file: PathBuf,
    /// This member.
    pub id: Sid,
}

impl ViewFiles {
    /// The configuration that was proposed before this process began, if there is one.
    pub fn proposed(&self) -> Option<QuorumView> {
        let path = dynamic::proposed_file(&self.static_file);
        let text = fs::read_to_string(&path).ok()?;
        QuorumView::parse(&text).map_err(|why| tracing::warn!("{} is passed over: {why}", path.display())).ok()
    }

    /// Keeps a configuration. What cannot be written is said, and learned again from the others at the next start.
    pub fn keep(&self, view: &QuorumView, is_final: bool) {
        if let Err(error) = self.write(view, is_final) {
            tracing::error!(
                "cannot keep configuration {:x} beside {}: {error}",
                view.version(),
                self.static_file.display()
            );
        }
    }

    fn write(&self, view: &QuorumView, is_final: bool) -> io::Result<()> {
        let proposed = dynamic::proposed_file(&self.static_file);
        if !is_final {
            return replace(&proposed, dynamic::dynamic_text(view, true).as_bytes());
        }
        let file = dynamic::final_file(&self.static_file, view.version());
        replace(&file, dynamic::dynamic_text(view, false).as_bytes())?;
        let before = fs::read(&self.static_file)?;
        if !dynamic::is_converted(&before) {
            replace(&dynamic::backup_file(&self.static_file), &before)?;
        }
        let file = file.canonicalize()?;
        replace(&self.static_file, dynamic::static_text(&before, &file, view, self.id).as_bytes())?;
        match fs::read_to_string(&proposed).map(|text| QuorumView::parse(&text)) {
            Ok(Ok(seen)) if seen.version() > view.version() => Ok(()),
            Ok(_) => fs::remove_file(&proposed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Either the old text or the new one is there, whatever happens.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an operator wrote by hand has comments and an order, which the rewritten file has not.
    #[test]
    fn the_first_change_keeps_what_the_operator_wrote() {
        let dir = tempfile::tempdir().expect("a directory");
        let static_file = dir.path().join("zoo.cfg");
        let written = b"# our ensemble\ntickTime=2000\nserver.1=a:2888:3888\nserver.2=b:2888:3888\n";
        fs::write(&static_file, written).expect("written");
        let files = ViewFiles { static_file: static_file.clone(), id: Sid(1) };
        let view = |version| {
            let text = format!("server.1=a:2888:3888\nserver.2=b:2888:3888\nversion={version:x}");
            QuorumView::parse(&text).expect("a configuration")
        };
        files.keep(&view(0x11), false);
        assert_eq!(files.proposed().map(|view| view.version()), Some(0x11));
        assert_eq!(fs::read(&static_file).expect("there"), written);
        for version in [0x11, 0x12] {
            files.keep(&view(version), true);
            let text = fs::read_to_string(&static_file).expect("there");
            assert!(text.ends_with(&format!("zoo.cfg.dynamic.{version:x}\n")), "{text}");
            assert_eq!(fs::read(dir.path().join("zoo.cfg.bak")).expect("there"), written);
        }
        assert!(files.proposed().is_none());
    }
}

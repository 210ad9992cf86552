//! What an operator writes: the first piece is a `zoo.cfg`; each further piece begins with a letter: `D` for `-D`, `S` for
//! `--set`, `E` for a variable of the environment, `A` for a bare argument, `M` for a `myid` file, `Y` for a dynamic
//! file, `W` for a whitelist of words.

use std::io;
use std::path::{Path, PathBuf};

use config::{Invocation, Start, load, my_id, properties};

use crate::pieces::{pieces, tagged};

/// Fuzz target.
pub fn config(input: &[u8]) {
    let all = pieces(input);
    let (file, rest) = all.split_first().expect("there is one piece at least");
    let mut invocation =
        Invocation { start: Start::File(PathBuf::from("zoo.cfg")), defines: Vec::new(), sets: Vec::new() };
    let (mut environment, mut bare) = (Vec::new(), Vec::new());
    let (mut my_id_file, mut dynamic_file): (Option<&[u8]>, Option<&[u8]>) = (None, None);
    for piece in rest {
        let Some((tag, text)) = tagged(piece) else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        match tag {
            b'D' => invocation.defines.push(text),
            b'S' => invocation.sets.push(text),
            b'E' => {
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                environment.push((name.to_owned(), value.to_owned()));
            }
            b'A' if bare.len() < 4 => bare.push(text),
            b'M' => {
                my_id_file = Some(piece.get(1..).unwrap_or_default());
                let _ = my_id(text.as_bytes());
            }
            b'Y' => dynamic_file = Some(piece.get(1..).unwrap_or_default()),
            b'W' => {
                let whitelist = admin::Whitelist::parse(&text, text.len().is_multiple_of(2));
                assert!(whitelist.allows("srvr"));
                whitelist.refusal("mntr");
            }
            _ => {}
        }
    }
    let (pairs, malformed) = properties::parse(file);
    let lines = file.len() + 1;
    assert!(pairs.iter().map(|pair| pair.line).chain(malformed.iter().map(|m| m.line)).all(|l| l as usize <= lines));

    if bare.len() > 1 {
        let arguments = bare.iter().filter(|text| !text.contains('\0')).cloned();
        if let Ok(parsed) = Invocation::parse(arguments) {
            invocation.start = parsed.start;
        }
    }
    if matches!(file.first(), None | Some(b'\0')) && bare.is_empty() {
        invocation.start = Start::Embedded;
    }
    // `myid`, and the file of `dynamicConfigFile`.
    let further = |path: &Path| {
        let content = if path.ends_with("myid") { my_id_file } else { dynamic_file };
        content.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    let read = || load(&invocation, Some(("zoo.cfg", file)), &environment, &further);
    match (read(), read()) {
        (Ok(one), Ok(other)) => {
            assert!(one == other, "the same every time");
            for warning in &one.warnings {
                assert!(!warning.to_string().is_empty());
            }
        }
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        _ => panic!("the same every time"),
    }
}

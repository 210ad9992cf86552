//! Our words beside those of Java.
//!
//! `golden/<kind>/` holds what ZooKeeper 3.8.0 and 3.9.5 answered in one scene (`capture.py` says which, and takes it anew).
//! Each test reads facts back from such an answer and demands that we print that very answer from them. So what is compared
//! is every byte but the version text, and the order where Java's is that of a hash map.

mod ensembles;
mod golden;
mod metrics;
mod scene;

use std::collections::{BTreeMap, BTreeSet};

use admin::{Descriptors, Effect, Facts, Role, Whitelist, answer, effect, needs};
use member::word::{WORDS, Word};

use golden::{KINDS, golden, java_version};
use scene::{
    counts, facts, facts_from_connections, facts_from_dump, facts_from_properties, facts_from_srvr, facts_from_watches,
};

fn word(name: &str) -> Word {
    let name = WORDS.iter().find(|known| **known == name).expect("tests ask for words that exist");
    Word { name, mask: (*name == "stmk").then_some(6) }
}

/// Whether we say, from these facts, what Java of this kind said in this file.
#[track_caller]
fn check(kind: &str, file: &str, name: &str, facts: &Facts) {
    let want = golden(kind, file).replace(&java_version(kind), &facts.server.version.to_string());
    assert_eq!(answer(word(name), facts), want, "{kind}/{file}");
}

#[test]
fn words_with_fixed_answers_say_what_java_says() {
    for kind in KINDS {
        for name in ["ruok", "isro", "gtmk", "stmk", "crst", "srst"] {
            check(kind, name, name, &facts());
        }
        check(kind, "gtmk-after", "gtmk", &Facts { trace_mask: 6, ..facts() });
    }
}

#[test]
fn srvr_has_javas_nine_lines() {
    for kind in KINDS {
        check(kind, "srvr", "srvr", &facts_from_srvr(&golden(kind, "srvr")));
    }
}

#[test]
fn stat_lists_the_clients_before_the_numbers() {
    for kind in KINDS {
        for file in ["stat", "empty-stat", "stat-after-srst", "listed-stat"] {
            let text = golden(kind, file);
            let facts = Facts { connections: facts_from_connections(&text).connections, ..facts_from_srvr(&text) };
            check(kind, file, "stat", &facts);
        }
    }
}

#[test]
fn cons_shows_sessions_at_length_and_ends_with_an_empty_line() {
    for kind in KINDS {
        for file in ["cons", "empty-cons", "cons-after-crst"] {
            check(kind, file, "cons", &facts_from_connections(&golden(kind, file)));
        }
    }
}

#[test]
fn dump_shows_sessions_ephemerals_and_connections_with_their_dates() {
    for kind in KINDS {
        for file in ["dump", "empty-dump"] {
            let javas = without_empty_buckets(&golden(kind, file));
            assert_eq!(answer(word("dump"), &facts_from_dump(&javas)), javas, "{kind}/{file}");
        }
    }
}

/// Java shows buckets that everybody has moved out of until their time comes. We have none.
fn without_empty_buckets(dump: &str) -> String {
    let (mut out, mut sets) = (String::new(), 0);
    for line in dump.lines().rev() {
        let (head, rest) = line.split_once(" Sets (").unwrap_or((line, ""));
        if !rest.is_empty() {
            let (_, rest) = rest.split_once(')').expect("the number of buckets is in brackets");
            out = format!("{head} Sets ({sets}){rest}\n{out}");
            sets = 0;
        } else if !line.starts_with("0 expire at ") {
            sets += usize::from(line.contains(" expire at "));
            out = format!("{line}\n{out}");
        }
    }
    out
}

#[test]
fn conf_dirs_and_hash_have_javas_lines() {
    for kind in KINDS {
        for file in ["conf", "dirs", "hash", "empty-hash"] {
            let name = file.trim_start_matches("empty-");
            check(kind, file, name, &facts_from_properties(&golden(kind, file)));
        }
    }
}

#[test]
fn envi_has_javas_keys_and_no_java() {
    for kind in KINDS {
        for file in ["envi", "looking-envi"] {
            let want = golden(kind, file).replace(&java_version(kind), &facts().server.version.to_string());
            let want: Vec<String> = want
                .lines()
                .map(|line| match line.split_once('=') {
                    Some((key, _)) if key.starts_with("java.") && key != "java.io.tmpdir" => format!("{key}=<NA>"),
                    _ => line.to_owned(),
                })
                .collect();
            let facts = facts_from_properties(&golden(kind, file));
            assert_eq!(answer(word("envi"), &facts).lines().collect::<Vec<_>>(), want);
        }
    }
}

#[test]
fn watch_words_show_the_data_watches() {
    for kind in KINDS {
        for state in ["", "empty-"] {
            let facts = facts_from_watches(&golden(kind, &format!("{state}wchp")));
            check(kind, &format!("{state}wchs"), "wchs", &facts);
            for name in ["wchc", "wchp"] {
                let (ours, javas) = (answer(word(name), &facts), golden(kind, &format!("{state}{name}")));
                assert_eq!(blocks(&ours), blocks(&javas), "{kind} {name}");
                assert_eq!(ours.len(), javas.len(), "{kind} {name}: the same lines and line ends");
                assert!(ours == "\n" || ours.ends_with("\n\n"), "{name} ends with an empty line");
            }
        }
    }
}

/// Heads with the indented lines below them.
fn blocks(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut blocks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut head = String::new();
    for line in text.lines() {
        match line.strip_prefix('\t') {
            Some(item) => _ = blocks.entry(head.clone()).or_default().insert(item.to_owned()),
            None => head = line.to_owned(),
        }
    }
    blocks
}

#[test]
fn watches_of_all_shards_are_one_table() {
    let text = golden("java395", "wchp");
    let one = facts_from_watches(&text);
    // The same paths on two shards, each with one half of the sessions.
    let mut halves = [member::report::WatchReport::default(), member::report::WatchReport::default()];
    for (path, sessions) in &one.watches[0].by_path {
        for session in sessions {
            let half = &mut halves[(session.0 & 1) as usize];
            half.by_path.entry(path.clone()).or_default().push(*session);
        }
    }
    assert!(halves.iter().all(|half| !half.by_path.is_empty()), "both have some");
    let two = Facts { watch_counts: halves.iter().map(counts).collect(), watches: halves.into(), ..one.clone() };
    for name in ["wchs", "wchc", "wchp"] {
        assert_eq!(answer(word(name), &one), answer(word(name), &two));
    }
}

#[test]
fn a_server_that_does_not_serve_says_so_where_java_does() {
    let facts = Facts { role: Role::NotServing, ..facts() };
    for kind in KINDS {
        for name in WORDS.into_iter().filter(|name| !matches!(*name, "envi" | "stmk" | "hand")) {
            check(kind, &format!("looking-{name}"), name, &facts);
        }
    }
}

#[test]
fn nothing_but_the_mask_changes_while_nothing_is_served() {
    assert_eq!(effect(word("srst"), Role::NotServing), Effect::None);
    assert_eq!(effect(word("crst"), Role::NotServing), Effect::None);
    assert_eq!(effect(word("stmk"), Role::NotServing), Effect::SetTraceMask(6));
    assert_eq!(effect(word("srst"), Role::Standalone), Effect::ResetServer);
    assert_eq!(effect(word("crst"), Role::Standalone), Effect::ResetConnections);
    assert!(WORDS.into_iter().filter(|name| effect(word(name), Role::Standalone) != Effect::None).count() == 3);
}

#[test]
fn a_word_that_is_not_listed_is_refused_with_javas_line() {
    let whitelist = Whitelist::parse(" ruok , stat", false);
    for kind in KINDS {
        assert_eq!(whitelist.refusal("mntr"), Some(golden(kind, "refused-mntr")));
        assert_eq!(whitelist.refusal("isro"), Some(golden(kind, "refused-isro")));
        assert_eq!(golden(kind, "listed-ruok"), "imok");
        assert_eq!(whitelist.refusal("ruok"), None);
        assert_eq!(whitelist.refusal("stat"), None);
    }
}

#[test]
fn a_word_shows_nothing_that_it_does_not_ask_for() {
    let full = Facts {
        watches: facts_from_watches(&golden("java395", "wchp")).watches,
        bytes: facts_from_properties(&golden("java395", "dirs")).bytes,
        memory: facts_from_properties(&golden("java395", "envi")).memory,
        descriptors: Descriptors { open: Some(79), max: Some(20_000) },
        ..facts_from_dump(&golden("java395", "dump"))
    };
    let nothing = facts();
    for name in WORDS {
        let (needs, mut asked) = (needs(word(name)), full.clone());
        for (needed, empty) in [
            (needs.connections, (|full, nothing| full.connections = nothing.connections) as fn(&mut Facts, Facts)),
            (needs.watches, |full, nothing| full.watches = nothing.watches),
            (needs.writes, |full, nothing| full.writes = nothing.writes),
            (needs.quorum, |full, nothing| full.quorum = nothing.quorum),
            (needs.bytes, |full, nothing| full.bytes = nothing.bytes),
            (needs.process, |full, nothing| (full.memory, full.descriptors) = (nothing.memory, nothing.descriptors)),
        ] {
            if !needed {
                empty(&mut asked, nothing.clone());
            }
        }
        assert_eq!(answer(word(name), &asked), answer(word(name), &full), "{name}");
    }
}

#[test]
fn every_word_has_an_answer() {
    for name in WORDS {
        let facts = Facts { writes: facts_from_properties(&golden("java395", "hash")).writes, ..facts() };
        assert!(!answer(word(name), &facts).is_empty(), "{name}");
    }
}

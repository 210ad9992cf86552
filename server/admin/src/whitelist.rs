//! Which words are answered (`4lw.commands.whitelist`).

use std::collections::BTreeSet;

use member::word::HAND;

/// The words that an operator allowed, and those that are always answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whitelist {
    all: bool,
    words: BTreeSet<String>,
}

impl Whitelist {
    /// From the setting: words with commas between, spaces around them ignored; `*` among them is every word of ZooKeeper's, but not [`HAND`].
    /// `srvr` is always answered, `isro` wherever read-only mode may occur (`readonlymode.enabled`).
    pub fn parse(list: &str, read_only_mode: bool) -> Whitelist {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        Whitelist::new(entries.map(str::to_owned), read_only_mode)
    }

    /// From the entries of the setting.
    pub fn new(entries: impl IntoIterator<Item = String>, read_only_mode: bool) -> Whitelist {
        let mut words: BTreeSet<String> = entries.into_iter().collect();
        words.insert("srvr".to_owned());
        if read_only_mode {
            words.insert("isro".to_owned());
        }
        Whitelist { all: words.contains("*"), words }
    }

    /// Whether a word is answered.
    pub fn allows(&self, word: &str) -> bool {
        self.all && word != HAND || self.words.contains(word)
    }

    /// What a client hears instead of the answer, if the word is not allowed.
    pub fn refusal(&self, word: &str) -> Option<String> {
        (!self.allows(word)).then(|| format!("{word} is not executed because it is not in the whitelist.\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &str, read_only_mode: bool) -> Vec<&'static str> {
        let whitelist = Whitelist::parse(list, read_only_mode);
        member::word::WORDS.into_iter().filter(|word| whitelist.allows(word)).collect()
    }

    #[test]
    fn srvr_is_always_answered_and_isro_where_read_only_mode_may_occur() {
        assert_eq!(allowed("", false), ["srvr"]);
        assert_eq!(allowed("", true), ["isro", "srvr"]);
    }

    #[test]
    fn entries_are_trimmed_and_unknown_ones_do_no_harm() {
        assert_eq!(allowed(" ruok ,\tmntr,,nope", false), ["ruok", "mntr", "srvr"]);
    }

    #[test]
    fn a_star_anywhere_is_every_word_but_the_one_that_moves_leadership() {
        let all = allowed("ruok, *", false);
        assert_eq!(all, member::word::WORDS.into_iter().filter(|word| *word != HAND).collect::<Vec<_>>());
        assert_eq!(allowed("*, hand", false), member::word::WORDS);
        assert_eq!(allowed("hand", false), ["srvr", "hand"]);
    }

    #[test]
    fn letters_count_as_written() {
        assert_eq!(allowed("RUOK", false), ["srvr"]);
    }
}

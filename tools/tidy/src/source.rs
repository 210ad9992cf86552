//! Just enough understanding of Rust's text for the rules: which lines are code, which belong to tests, where a word
//! stands alone. It reads formatted code, one item after the other, and does not parse.

/// The lines of code with their numbers from 1: comments are cut off, texts within quotes are emptied.
pub fn code_lines(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    lines.map(|(index, line)| (index + 1, without_texts_and_comments(line))).collect()
}

fn without_texts_and_comments(line: &str) -> String {
    let mut code = String::with_capacity(line.len());
    let mut within_text = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if within_text => {
                characters.next();
            }
            '"' => {
                within_text = !within_text;
                code.push('"');
            }
            _ if within_text => {}
            // The character '"' is not the beginning of a text.
            '\'' if characters.peek() == Some(&'"') => {
                characters.next();
                characters.next();
            }
            '/' if characters.peek() == Some(&'/') => break,
            _ => code.push(character),
        }
    }
    code
}

/// Whether a word stands in a line, not as a part of a longer one.
pub fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(is_part)
            && !line[at + word.len()..].chars().next().is_some_and(is_part)
    })
}

/// The lines of code that belong to tests: all of a file below a folder `tests` or called `tests.rs`; elsewhere, the
/// items after a `#[cfg(test)]`, to the brace that closes them.
pub fn test_lines(path: &str, text: &str) -> Vec<(usize, String)> {
    let lines = code_lines(text);
    if path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return lines;
    }
    let mut tests = Vec::new();
    // The blanks before `#[cfg(test)]`, as long as its item is open.
    let mut within: Option<usize> = None;
    for (number, line) in lines {
        let indent = line.len() - line.trim_start().len();
        match within {
            None if line.trim_start().starts_with("#[cfg(test)]") => within = Some(indent),
            None => {}
            Some(start) => {
                let ends = indent == start && (line.trim() == "}" || line.trim_end().ends_with(';'));
                tests.push((number, line));
                if ends {
                    within = None;
                }
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_no_code() {
        let code = |line: &str| code_lines(line).remove(0).1;
        assert_eq!(code("let a = \"// not \\\" a comment\"; // a comment"), "let a = \"\"; ");
        assert_eq!(code("if c == '\"' { unsafe {} }"), "if c ==  { unsafe {} }");
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(has_word("x(unsafe{y})", "unsafe"));
        assert!(!has_word("#![forbid(unsafe_code)]", "unsafe"));
        assert!(!has_word("unsafely()", "unsafe"));
    }

    #[test]
    fn tests_are_what_follows_the_attribute() {
        let text =
            "a();\n#[cfg(test)]\nuse x;\nb();\n#[cfg(test)]\nmod tests {\n    c();\n    if d {\n    }\n}\ne();\n";
        let lines: Vec<usize> = test_lines("engine/a/src/lib.rs", text).into_iter().map(|(number, _)| number).collect();
        assert_eq!(lines, [3, 6, 7, 8, 9, 10]);
        assert_eq!(test_lines("engine/a/tests/all.rs", "a();\nb();\n").len(), 2);
    }
}

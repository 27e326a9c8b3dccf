//! Words as a shell of POSIX takes them, and as `xargs` does: both read the same quotes and backslashes.

/// A word that is read as this text and nothing else. It must have no line break, at which `xargs` ends what is quoted.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !word.is_empty() && !word.starts_with('-') && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The words of a line; none when a quote is not closed or nothing follows a backslash.
pub(crate) fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), closing) if open == closing => quote = None,
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_word_again() {
        for word in [
            "storm",
            "",
            "-n",
            "a b",
            "it's",
            "\"two\" 'quotes'",
            "$(rm -rf ~) `x` \\ ; & | > *",
            "Käse",
        ] {
            let line = format!("{} --seed {}", quoted(word), quoted(word));
            let read = words(&line);
            assert_eq!(
                read,
                Some(vec![word.to_owned(), "--seed".to_owned(), word.to_owned()]),
                "{line}"
            );
        }
        assert_eq!(quoted("scenarios/my-town.toml"), "scenarios/my-town.toml");
    }

    #[test]
    fn a_line_whose_quotes_do_not_close_has_no_words() {
        assert_eq!(words("a 'b c"), None);
        assert_eq!(words("a \"b"), None);
        assert_eq!(words("a \\"), None);
        assert_eq!(words(" \t "), Some(Vec::new()));
    }
}

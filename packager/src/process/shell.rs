//! Commands that a user shall type.

/// `text` as one word of a shell's command line.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn only_what_a_shell_would_change_is_quoted() {
        assert_eq!(word("/tmp/a-1/b.spec"), "/tmp/a-1/b.spec");
        assert_eq!(word("_topdir /x"), "'_topdir /x'");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(word(""), "''");
    }
}

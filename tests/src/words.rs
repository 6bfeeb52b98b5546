//! The words of a source file in Rust: identifiers, `::` and single signs. Comments, strings and characters
//! are left out.

/// One word and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As it is written.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// Takes a text apart. A string with `"` in raw form is known by its `#` signs.
pub fn words(text: &str) -> Vec<Word> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let rest = &text[at..];
        let length = comment(rest).or_else(|| string(rest));
        if let Some(length) = length {
            line += rest[..length].matches('\n').count();
            at += length;
            continue;
        }
        let word = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => rest.chars().next().map_or(1, char::len_utf8),
            word => word,
        };
        let text = &rest[..length];
        if text == "\n" {
            line += 1;
        } else if !text.trim().is_empty() {
            out.push(Word { text: text.to_owned(), line });
        }
        at += length;
    }
    out
}

/// Length of the comment that the text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    if !text.starts_with("/*") {
        return None;
    }
    while at < text.len() {
        let two = text.as_bytes().get(at..at + 2)?;
        match two {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Length of the string or character that the text begins with.
fn string(text: &str) -> Option<usize> {
    let raw = text.strip_prefix("br").or_else(|| text.strip_prefix('r'));
    if let Some(rest) = raw {
        let signs = rest.bytes().take_while(|b| *b == b'#').count();
        if rest[signs..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(signs));
            let content = &rest[signs + 1..];
            let length = content.find(&end)? + end.len();
            return Some(text.len() - content.len() + length);
        }
    }
    let quote = text.bytes().next().filter(|b| matches!(b, b'"' | b'\''))?;
    // A lifetime: no quote follows its first letter.
    if quote == b'\'' && !text[1..].starts_with('\\') {
        let mut chars = text[1..].char_indices();
        chars.next()?;
        let (at, second) = chars.next()?;
        return (second == '\'').then_some(at + 2);
    }
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b if b == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_lifetimes() {
        let text = "use a::b; // c\n/* d /* e */ */ fn f<'a>(x: &'a str) -> char { g(\"h\\\"i\", \
         r#\"j\"k\"#, 'l', '\\'') }\nm";
        let found: Vec<String> = words(text).into_iter().map(|w| w.text).collect();
        assert_eq!(found.join(" "), "use a :: b ; fn f < ' a > ( x : & ' a str ) - > char { g ( , , , ) } m");
        assert_eq!(words(text).last().map(|w| w.line), Some(3));
    }
}

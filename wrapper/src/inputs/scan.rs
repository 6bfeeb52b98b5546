//! What a source text may ask the preprocessor or assembler for, found without preprocessing: too much rather
//! than too little. A text in which `__DATE__` stands in a comment counts as using it.
//!
//! Not seen: names put together with `##`.

use memchr::memmem;

/// Operand of `#include` or `__has_include`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    pub(crate) name: Vec<u8>,
    /// `"name"` and not `<name>`.
    pub(crate) quoted: bool,
    /// `#include_next`, `__has_include_next`.
    pub(crate) next: bool,
}

/// One text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) includes: Vec<Operand>,
    pub(crate) has_includes: Vec<Operand>,
    /// An include whose operand is a macro.
    pub(crate) computed_include: bool,
    /// `__DATE__` or `__TIME__`.
    pub(crate) date: bool,
    /// `__TIMESTAMP__`: of the file, not of the clock.
    pub(crate) timestamp: bool,
    /// Why it cannot be known where inputs were looked for.
    pub(crate) opaque: Option<&'static str>,
}

pub(crate) fn scan(text: &[u8]) -> Scan {
    let mut found = Scan {
        timestamp: memmem::find(text, b"__TIMESTAMP__").is_some(),
        date: memmem::find(text, b"__DATE__").is_some() || memmem::find(text, b"__TIME__").is_some(),
        ..Scan::default()
    };
    for (needle, why) in [
        (&b"__has_embed"[..], "#embed"),
        (b"pch_preprocess", "a precompiled header of preprocessed text"),
        (b"pragma GCC dependency", "the time of another file"),
        (b"%:include", "an include directive spelt with a digraph"),
        (b"??=include", "an include directive spelt with a trigraph"),
    ] {
        if memmem::find(text, needle).is_some() {
            found.opaque = Some(why);
        }
    }
    for at in memmem::find_iter(text, b"__has_include") {
        has_include(&text[at + b"__has_include".len()..], &mut found);
    }
    for at in memchr::memchr_iter(b'#', text) {
        directive(&text[at + 1..], starts_line(&text[..at]), &mut found);
    }
    found
}

/// Why there may be inputs that no compiler lists: the text may let the assembler read files. That does not
/// tell great from small letters (GNU as manual, "Pseudo Ops").
pub(crate) fn unlisted(text: &[u8]) -> Option<&'static str> {
    let has = |name: &[u8]| {
        let hits = memchr::memchr2_iter(name[0], name[0].to_ascii_uppercase(), text);
        hits.into_iter().any(|at| {
            text.get(at..at + name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name))
                && (name[0] != b'.' || !text[..at].last().is_some_and(u8::is_ascii_alphanumeric))
        })
    };
    if has(b"incbin") {
        return Some("assembler text reads a file (.incbin)");
    }
    has(b".include").then_some("assembler text reads a file (.include)")
}

/// Whether a directive may begin after this text. A comment may stand before it, and that may have begun
/// lines above.
fn starts_line(before: &[u8]) -> bool {
    let text = before.trim_ascii_end();
    text.is_empty() || text.ends_with(b"*/") || before[text.len()..].contains(&b'\n')
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    &text[start..]
}

fn directive(rest: &[u8], starts_line: bool, found: &mut Scan) {
    let mut rest = skip_blanks(rest);
    while let Some(comment) = rest.strip_prefix(b"/*") {
        let Some(end) = memmem::find(comment, b"*/") else { return };
        rest = skip_blanks(&comment[end + 2..]);
    }
    let name =
        rest.iter().position(|byte| !byte.is_ascii_alphabetic() && *byte != b'_').unwrap_or(rest.len());
    if starts_line && rest[name..].starts_with(b"\\\n") {
        found.opaque = Some("a directive that goes on in the next line");
    }
    let word = |name: &[u8]| {
        rest.strip_prefix(name)
            .filter(|rest| rest.first().is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_'))
    };
    if word(b"embed").is_some() {
        found.opaque = Some("#embed");
    }
    let (operand, next) = match (word(b"include"), word(b"import"), word(b"include_next")) {
        (Some(rest), ..) | (_, Some(rest), _) => (rest, false),
        (.., Some(rest)) => (rest, true),
        _ => return,
    };
    let text = skip_blanks(operand);
    match self::operand(text, next) {
        Some(operand) => found.includes.push(operand),
        // In the middle of a line it is prose in a comment, such as "#include the header first".
        None => found.computed_include |= starts_line,
    }
}

fn operand(text: &[u8], next: bool) -> Option<Operand> {
    let (close, quoted) = match text.first()? {
        b'<' => (b'>', false),
        b'"' => (b'"', true),
        _ => return None,
    };
    let line = &text[1..text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())];
    let end = line.iter().position(|byte| *byte == close)?;
    Some(Operand { name: line[..end].to_vec(), quoted, next })
}

fn has_include(rest: &[u8], found: &mut Scan) {
    let (rest, next) = match rest.strip_prefix(b"_next") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    // gcc's own spelling of it.
    let rest = rest.strip_prefix(b"__").unwrap_or(rest);
    // `defined __has_include` has no operand; neither has another name that only begins like it.
    let Some(inside) = skip_blanks(rest).strip_prefix(b"(") else { return };
    match operand(skip_blanks(inside), next) {
        Some(operand) => found.has_includes.push(operand),
        None => found.opaque = Some("__has_include of a macro"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds() {
        let found = scan(
            b"#include <a.h>\n  #  include \"b/c.h\"\n#include_next <d.h>\n#include MACRO\nx = y # z;\n\
              #if defined __has_include && __has_include(<e.h>)\n#endif\n/* c */ #include <f.h>",
        );
        let names: Vec<_> =
            found.includes.iter().map(|it| String::from_utf8_lossy(&it.name).into_owned()).collect();
        assert_eq!(names, ["a.h", "b/c.h", "d.h", "f.h"]);
        assert!(found.includes[1].quoted && found.includes[2].next && found.computed_include);
        assert_eq!(found.has_includes.len(), 1);
        assert!(!found.date && !found.timestamp && found.opaque.is_none());
    }

    #[test]
    fn prose_is_no_computed_include() {
        assert!(
            !scan(b"/* Always\n * #include the right one.\n */\n// #include as needed\n").computed_include
        );
        assert!(scan(b"int x;\n\t# include MACRO(x)\n").computed_include);
        assert!(scan(b"#include MACRO").computed_include);
        assert!(scan(b"/* a\n b */ #include MACRO").computed_include);
        assert!(scan(b"%:include <x.h>").opaque.is_some());
    }

    #[test]
    fn time_and_opaque() {
        assert!(scan(b"char *d = __DATE__;").date);
        assert!(scan(b"char *d = __TIME__;").date);
        let stamp = scan(b"char *d = __TIMESTAMP__;");
        assert!(stamp.timestamp && !stamp.date);
        for text in
            [&b"asm(\".incbin \\\"x\\\"\");"[..], b".INCBIN \"x\"", b" .Include \"x\"", b"a:.include \"x\""]
        {
            assert!(unlisted(text).is_some(), "{}", String::from_utf8_lossy(text));
        }
        assert!(unlisted(b"see util.include for more").is_none());
        assert!(scan(b"#inc\\\nlude \"x\"\n").opaque.is_some());
        assert!(scan(b"# /* c */ include <x.h>\n").includes.len() == 1);
        assert!(scan(b"#if __has_include(HEADER)").opaque.is_some());
        assert!(scan(b"#embed \"x\"").opaque.is_some());
    }
}

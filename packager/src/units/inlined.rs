//! Why a function changed whose own source did not: what the fix changes is inlined in it.

use crate::prep::Changes;
use differ::{Declared, Inlining};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// By function: what is inlined in it that the fix changes, as `name (file:line)`.
pub(crate) type Inlined = BTreeMap<String, Vec<String>>;

/// Finds the functions in whose source lines the fix changes something, and those that have them inlined. The
/// sources are those of the original: line numbers of debug information and diff both count there (`#line`
/// keeps them in the patched unit).
pub(crate) fn inlined(inlining: &Inlining, changes: &Changes) -> Inlined {
    let mut texts: HashMap<String, Vec<u64>> = HashMap::new();
    let mut touched = |function: &Declared| {
        if function.line == 0 || !changes.within(Path::new(&function.file), 1, u64::MAX) {
            return false;
        }
        let ends = texts.entry(function.file.clone()).or_insert_with(|| body_ends(&function.file));
        let at = usize::try_from(function.line).unwrap_or(0);
        // What the fix adds is numbered past the end.
        if !ends.is_empty() && at >= ends.len() {
            return true;
        }
        let last = ends.get(at).copied().unwrap_or(function.line);
        changes.within(Path::new(&function.file), function.line, last)
    };
    let mut inlined = Inlined::new();
    for function in &inlining.functions {
        let Some(callees) = inlining.inlined.get(&function.name) else { continue };
        let list: Vec<String> = callees.iter().filter(|c| touched(c)).map(show).collect();
        if !list.is_empty() {
            inlined.insert(function.name.clone(), list);
        }
    }
    inlined
}

fn show(function: &Declared) -> String {
    let file = Path::new(&function.file).file_name().unwrap_or_default().to_string_lossy();
    format!("{} ({file}:{})", function.name, function.line)
}

/// For each line of a source file (from 1) the line on which a function that begins there ends: that of the
/// brace that closes the first one opened. Empty if the file cannot be read.
fn body_ends(file: &str) -> Vec<u64> {
    let Ok(text) = std::fs::read(file) else { return Vec::new() };
    let braces = braces(&text);
    let lines = text.split(|b| *b == b'\n').count();
    let mut ends = vec![0];
    for line in 1..=lines as u64 {
        let mut depth = 0;
        let first = braces.partition_point(|(l, _)| *l < line);
        let end = braces[first..].iter().find(|(_, open)| {
            depth += if *open { 1 } else { -1 };
            depth <= 0
        });
        ends.push(end.map_or(line, |(l, _)| *l));
    }
    ends
}

/// Line and kind of each brace outside of comments and literals.
fn braces(text: &[u8]) -> Vec<(u64, bool)> {
    let mut found = Vec::new();
    let (mut line, mut at) = (1, 0);
    while at < text.len() {
        let rest = &text[at..];
        let skip = match rest[0] {
            b'{' | b'}' => {
                found.push((line, rest[0] == b'{'));
                1
            }
            b'/' if rest.starts_with(b"//") => memchr(rest, b"\n"),
            b'/' if rest.starts_with(b"/*") => 2 + memchr(&rest[2..], b"*/") + 2,
            quote @ (b'"' | b'\'') => literal(rest, quote),
            _ => 1,
        };
        let skip = skip.min(rest.len());
        line += rest[..skip].iter().filter(|b| **b == b'\n').count() as u64;
        at += skip;
    }
    found
}

/// Offset of `what`, or the length.
fn memchr(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len()).position(|w| w == what).unwrap_or(text.len())
}

/// Length of a literal with both quotes; one that does not end on its line is none (an apostrophe in disabled
/// text).
fn literal(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'\n' => return 1,
            b if *b == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "static int f(int x)\n{\n    if (x) { /* } */\n        return '}';\n    }\n    \
     return 1;\n}\n\n#define G 2\nint h(void) { return f(G); }\n";

    #[test]
    fn a_function_reaches_to_its_closing_brace() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), SOURCE).unwrap();
        let name = file.path().to_str().unwrap();
        let ends = body_ends(name);
        assert_eq!((ends[1], ends[10]), (7, 10));
        let declared = |function: &str, line| Declared { name: function.into(), file: name.into(), line };
        let inlining = Inlining {
            functions: vec![declared("f", 1), declared("h", 10)],
            inlined: [("h".to_owned(), vec![declared("f", 1)])].into(),
        };
        let base = file.path().file_name().unwrap().to_str().unwrap();
        let diff = |line: u32| format!("--- a/{base}\n+++ b/{base}\n@@ -{line} +{line} @@\n-a\n+b\n");
        let inlined = |line| inlined(&inlining, &Changes::read([diff(line).as_bytes()].into_iter(), 1));
        assert_eq!(inlined(6), Inlined::from([("h".to_owned(), vec![format!("f ({base}:1)")])]));
        // A macro between two functions belongs to neither.
        assert_eq!(inlined(9), Inlined::new());
        assert_eq!(inlined(10), Inlined::new());
    }
}

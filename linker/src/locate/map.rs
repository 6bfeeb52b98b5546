//! Reads the linker's map file: which input section went where.
//!
//! GNU ld and gold write one format, lld and mold another. Both are texts for people; what is read here is
//! checked against the linked file's bytes afterwards (see `place`).

use records::{LinkInput, LinkRecord, OsBytes};
use std::collections::HashMap;

/// Where one input section, or a part of it, went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contribution {
    /// Input section name.
    pub(crate) section: String,
    /// Link-time address.
    pub(crate) address: u64,
    /// Size in bytes in the output.
    pub(crate) size: u64,
    /// File as the linker names it.
    pub(crate) path: String,
    /// Archive member.
    pub(crate) member: Option<String>,
    /// The linker changed the size: merged or relaxed, so offsets inside are not those of the object.
    pub(crate) resized: bool,
}

/// A map file, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct LinkMap {
    /// In the order of the map.
    pub(crate) contributions: Vec<Contribution>,
    /// Names and sizes of input sections that the linker left out: unused, a second copy, or folded into an
    /// equal one.
    pub(crate) discarded: Vec<(String, u64)>,
    /// Global symbols by name. GNU ld lists no local ones.
    pub(crate) globals: HashMap<String, Vec<u64>>,
}

impl LinkMap {
    pub(crate) fn parse(text: &str) -> Self {
        let columns = text.lines().take(5).find(|l| l.trim_start().starts_with("VMA") && l.contains("Align"));
        match columns {
            // lld has "VMA LMA Size Align", all but the alignment hexadecimal; mold has "VMA Size Align",
            // sizes decimal.
            Some(head) if head.contains("LMA") => parse_columns(text, 4, 16),
            Some(_) => parse_columns(text, 3, 10),
            None => parse_gnu(text),
        }
    }
}

/// The inputs that put something into the output, by file and archive member as the map names them.
pub fn contributing(text: &str) -> std::collections::HashSet<(String, Option<String>)> {
    let map = LinkMap::parse(text);
    map.contributions.into_iter().filter(|c| c.size > 0).map(|c| (c.path, c.member)).collect()
}

/// How maps name an input of `link`: by file and archive member. A member of a thin archive is a file of its
/// own beside the archive, which GNU ld names alone, and gold and mold with the archive before it.
pub fn names_of(input: &LinkInput, link: &LinkRecord) -> Vec<(String, Option<String>)> {
    let path = input.path.to_string_lossy();
    let Some(member) = input.member.as_ref().map(OsBytes::to_string_lossy) else { return vec![(path, None)] };
    let beside = match path.rsplit_once('/') {
        Some((dir, _)) if !member.starts_with('/') => format!("{dir}/{member}"),
        _ => member.clone(),
    };
    let mut names = vec![(path.clone(), Some(member)), (path, Some(beside.clone()))];
    // A file that is linked by its own name is that file.
    if !link.inputs.iter().any(|i| i.member.is_none() && i.path.as_bytes() == beside.as_bytes()) {
        names.push((beside, None));
    }
    names.dedup();
    names
}

fn split_member(path: &str) -> (String, Option<String>) {
    match path.strip_suffix(')').and_then(|p| p.rsplit_once('(')) {
        Some((archive, member)) if !archive.is_empty() => (archive.to_owned(), Some(member.to_owned())),
        _ => (path.to_owned(), None),
    }
}

fn hex(word: &str) -> Option<u64> {
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// The first word of `text` and the rest without the blanks between them.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

fn parse_gnu(text: &str) -> LinkMap {
    let mut map = LinkMap::default();
    let mut lines = text.lines();
    let head = lines.by_ref().take_while(|l| *l != "Linker script and memory map" && *l != "Memory map");
    map.discarded = discarded(head.skip_while(|l| *l != "Discarded input sections"));
    // A name too long for its column stands alone; the rest follows on the next line.
    let mut pending: Option<String> = None;
    for line in lines {
        if line.starts_with("Cross Reference Table") {
            break;
        }
        let indent = line.len() - line.trim_start_matches(' ').len();
        if indent == 0 {
            pending = None;
            continue;
        }
        let body = line.trim();
        if body.ends_with("(size before relaxing)") {
            if let Some(last) = map.contributions.last_mut() {
                last.resized = true;
            }
            continue;
        }
        if indent >= 16 {
            let Some((first, rest)) = word(body) else { continue };
            let Some(address) = hex(first) else { continue };
            match (pending.take(), word(rest)) {
                (Some(section), Some((size, path))) => push(&mut map, section, address, size, path),
                (None, Some((name, ""))) if hex(name).is_none() => {
                    let name = name.split('@').next().unwrap_or(name);
                    map.globals.entry(name.to_owned()).or_default().push(address);
                }
                _ => {}
            }
            continue;
        }
        pending = None;
        let Some((section, rest)) = word(body) else { continue };
        if indent != 1 || section.starts_with('*') || section.contains('(') {
            continue;
        }
        match word(rest) {
            None => pending = Some(section.to_owned()),
            Some((first, rest)) => {
                if let (Some(address), Some((size, path))) = (hex(first), word(rest)) {
                    push(&mut map, section.to_owned(), address, size, path);
                }
            }
        }
    }
    map
}

fn discarded<'t>(lines: impl Iterator<Item = &'t str>) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut words = lines.skip(1).flat_map(str::split_whitespace).peekable();
    let mut name = "";
    while let Some(text) = words.next() {
        // Name, address 0, size, file: the file's name may have blanks, and a section's begins with a dot.
        match (hex(text), words.peek().and_then(|size| hex(size))) {
            (Some(0), Some(size)) => found.push((name.to_owned(), size)),
            _ => name = text,
        }
    }
    found
}

fn push(map: &mut LinkMap, section: String, address: u64, size: &str, path: &str) {
    if let (Some(size), false) = (hex(size), path.is_empty()) {
        let (path, member) = split_member(path);
        map.contributions.push(Contribution { section, address, size, path, member, resized: false });
    }
}

fn parse_columns(text: &str, columns: usize, size_radix: u32) -> LinkMap {
    let mut map = LinkMap::default();
    for line in text.lines().skip_while(|l| !l.contains("Align")).skip(1) {
        let mut rest = line;
        let mut numbers = Vec::new();
        for _ in 0..columns {
            let trimmed = rest.trim_start();
            let end = trimmed.find(' ').unwrap_or(trimmed.len());
            numbers.push(&trimmed[..end]);
            rest = &trimmed[end..];
        }
        let number = |i: usize, radix: u32| {
            let digits = numbers.get(i).map(|n| n.trim_start_matches("0x"));
            digits.and_then(|n| u64::from_str_radix(n, radix).ok())
        };
        let (Some(address), Some(size)) = (number(0, 16), number(columns - 2, size_radix)) else { continue };
        // One blank ends the numbers; then 0, 8 or 16 blanks say output section, input section or symbol.
        let name = rest.trim_start();
        match (rest.len() - name.len()).saturating_sub(1) {
            8 => {
                let Some((path, section)) = name.strip_suffix(')').and_then(|n| n.rsplit_once(":(")) else {
                    continue;
                };
                let (path, member) = split_member(path);
                let section = section.to_owned();
                map.contributions.push(Contribution { section, address, size, path, member, resized: false });
            }
            16 => map.globals.entry(name.to_owned()).or_default().push(address),
            _ => {}
        }
    }
    // Unlike GNU ld, these list local symbols too: a name seen twice says nothing.
    map.globals.clear();
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    const GNU: &str = "\
Discarded input sections

 .text._Z1fv    0x0000000000000000       0x10 b.o

Linker script and memory map

LOAD a.o
.text           0x0000000000001060      0x19c
 *(.text.unlikely .text.*_unlikely .text.unlikely.*)
 .text.startup  0x0000000000001060       0x36 dir with blank/b.o
                0x0000000000001060                main
 *fill*         0x0000000000001096        0xa
 .text.a_very_long_name
                0x0000000000001190       0x3a libx.a(m.o)
                0x00000000000011a0                pub
                0x00000000000011a8                . = ALIGN (0x8)
 .rodata.str1.1
                0x0000000000002004        0xc b.o
                                         0x1c (size before relaxing)
 COMMON         0x0000000000003000        0x4 a.o
";

    #[test]
    fn gnu_ld_format() {
        let map = LinkMap::parse(GNU);
        let seen: Vec<_> = map
            .contributions
            .iter()
            .map(|c| (c.section.as_str(), c.address, c.size, c.path.as_str(), c.member.as_deref(), c.resized))
            .collect();
        assert_eq!(
            seen,
            [
                (".text.startup", 0x1060, 0x36, "dir with blank/b.o", None, false),
                (".text.a_very_long_name", 0x1190, 0x3a, "libx.a", Some("m.o"), false),
                (".rodata.str1.1", 0x2004, 0xc, "b.o", None, true),
                ("COMMON", 0x3000, 4, "a.o", None, false),
            ]
        );
        assert_eq!(map.discarded, [(".text._Z1fv".to_owned(), 0x10)]);
        assert_eq!(map.globals.get("pub"), Some(&vec![0x11a0]));
        assert!(!map.globals.contains_key("."));
    }

    #[test]
    fn lld_and_mold_format() {
        let lld = "             VMA              LMA     Size Align Out     In      Symbol
            1700             1700      10d    16 .text
            1720             1720       3a    16         libx.a(m.o):(.text.startup)
            1720             1720        a     1                 pub
";
        // From `mold 1.10.1 -Map`.
        let mold = "               VMA       Size Align Out     In      Symbol
            0x14f0        206    16 .text
            0x15b0         14    16         a.o:(.text)
            0x15b0          0     0                 pub
";
        let c = &LinkMap::parse(lld).contributions[0];
        assert_eq!(
            (c.address, c.size, c.path.as_str(), c.member.as_deref()),
            (0x1720, 0x3a, "libx.a", Some("m.o"))
        );
        let c = &LinkMap::parse(mold).contributions[0];
        assert_eq!((c.address, c.size, c.path.as_str(), c.section.as_str()), (0x15b0, 14, "a.o", ".text"));
    }
}

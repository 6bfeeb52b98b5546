//! What a linked file tells of how it was made, and of whom it works with.

use object::{Object, ObjectSection, ObjectSymbol};
use std::collections::BTreeSet;

/// What a linked file tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Compilers, as `.comment` or the producers have them.
    pub compilers: BTreeSet<String>,
    /// Options of the compilers, as the producers have them; none without debug information.
    pub options: BTreeSet<String>,
    /// Macros of the compiler's command, as annobin notes them; none without it. Producers do not have these.
    pub noted: BTreeSet<String>,
    /// Libraries that it needs (`DT_NEEDED`).
    pub needed: BTreeSet<String>,
    /// Names that it takes from others.
    pub imports: BTreeSet<String>,
    /// Names that others may take from it.
    pub exports: BTreeSet<String>,
}

impl Origin {
    /// Reads it of a file, and of the file with its debug information. What cannot be read is left out.
    pub(crate) fn read(data: &[u8], debug: Option<&[u8]>) -> Self {
        let mut origin = Self::default();
        let Ok(file) = object::File::parse(data) else { return origin };
        for symbol in file.dynamic_symbols() {
            let name = String::from_utf8_lossy(symbol.name_bytes().unwrap_or_default()).into_owned();
            if symbol.is_undefined() && !name.is_empty() {
                origin.imports.insert(name);
            } else if symbol.is_definition() {
                origin.exports.insert(name);
            }
        }
        origin.needed = needed(&section(&file, ".dynamic"), &section(&file, ".dynstr"));
        let debug = debug.and_then(|data| object::File::parse(data).ok());
        let producers = [Some(&file), debug.as_ref()].into_iter().flatten().flat_map(producers);
        for producer in producers {
            // "GNU C17 12.2.0 -mtune=generic -O2 -g": DWARF 5, 3.1.1, leaves the form to the compiler.
            let words: Vec<&str> = producer.split(' ').collect();
            let named = words.iter().position(|w| w.starts_with('-')).unwrap_or(words.len());
            origin.compilers.insert(words[..named].join(" "));
            origin.options.extend(words[named..].iter().filter(|w| counts(w)).map(|w| (*w).to_owned()));
        }
        // What annobin notes is in the file, and moves to that with the debug information.
        for file in [Some(&file), debug.as_ref()].into_iter().flatten() {
            let noted = Noted::read(&section(file, ".gnu.build.attributes"));
            if origin.compilers.is_empty() {
                origin.compilers = noted.compilers;
            }
            origin.noted.extend(noted.options);
        }
        if origin.compilers.is_empty() {
            origin.compilers.extend(strings(&section(&file, ".comment")));
        }
        origin
    }
}

/// What the compiler's plugin annobin notes ("Watermark" specification: the value stands in the note's name).
#[derive(Debug, Default)]
struct Noted {
    compilers: BTreeSet<String>,
    options: BTreeSet<String>,
}

impl Noted {
    fn read(notes: &[u8]) -> Self {
        let mut noted = Self::default();
        let mut rest = notes;
        let padded = |size: usize| size.checked_next_multiple_of(4);
        while let Some((name, size)) = name(rest) {
            noted.take(name);
            let next = padded(name.len()).zip(padded(size)).and_then(|(a, b)| rest.get(12 + a + b..));
            let Some(next) = next else { break };
            rest = next;
        }
        noted
    }

    fn take(&mut self, name: &[u8]) {
        match name {
            // Version of the tool: the compiler that ran, and the one that the plugin was built for.
            [b'G', b'A', b'$', 5, text @ ..] => {
                let text = String::from_utf8_lossy(text);
                let text = text.trim_end_matches('\0');
                self.compilers.extend(text.strip_prefix("running ").map(str::to_owned));
            }
            [b'G', b'A', b'*', value @ ..] => {
                if let Some(value) = value.strip_prefix(b"FORTIFY\0") {
                    let number = value.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
                    self.options.insert(format!("-D_FORTIFY_SOURCE={number}"));
                }
            }
            [b'G', b'A', b'+', text @ ..] if text.starts_with(b"GLIBCXX_ASSERTIONS") => {
                self.options.insert("-D_GLIBCXX_ASSERTIONS".to_owned());
            }
            _ => {}
        }
    }
}

/// Name of the first note, and the size of its content.
fn name(notes: &[u8]) -> Option<(&[u8], usize)> {
    let word = |at: usize| notes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (name, content) = (word(0)? as usize, word(4)? as usize);
    Some((notes.get(12..12usize.checked_add(name)?)?, content))
}

/// Could the option change code? Not those about debug information and about names of folders.
fn counts(option: &str) -> bool {
    let other = ["-g", "-fdebug-", "-ffile-prefix-map", "-fmacro-prefix-map", "-frandom-seed", "-dumpbase"];
    option.starts_with('-') && !other.iter().any(|prefix| option.starts_with(prefix))
}

/// The values of `DW_AT_producer`, which all compilers keep in `.debug_str`. Those of assemblers are left
/// out.
fn producers(file: &object::File<'_>) -> Vec<String> {
    let is_one = |s: &String| {
        (s.starts_with("GNU ") && !s.starts_with("GNU AS")
            || s.contains("clang version ")
            || s.starts_with("rustc "))
            && s.chars().any(|c| c.is_ascii_digit())
    };
    strings(&section(file, ".debug_str")).filter(is_one).collect()
}

/// The values of `DT_NEEDED` (gABI, "Dynamic Section") of a 64-bit little-endian file.
fn needed(dynamic: &[u8], names: &[u8]) -> BTreeSet<String> {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let entries = dynamic.chunks_exact(16).map(|e| (word(&e[..8]), word(&e[8..])));
    let name = |at: u64| names.get(usize::try_from(at).ok()?..).and_then(|rest| strings(rest).next());
    entries
        .filter(|(tag, _)| *tag == object::elf::DT_NEEDED.0.cast_unsigned())
        .filter_map(|(_, at)| name(at))
        .collect()
}

fn section(file: &object::File<'_>, name: &str) -> Vec<u8> {
    let data = file.section_by_name(name).and_then(|s| s.uncompressed_data().ok());
    data.map(std::borrow::Cow::into_owned).unwrap_or_default()
}

fn strings(data: &[u8]) -> impl Iterator<Item = String> {
    let parts = data.split(|b| *b == 0).filter(|s| !s.is_empty());
    parts.map(|s| String::from_utf8_lossy(s).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_annobin_notes_is_read() {
        let note = |name: &[u8], content: &[u8]| {
            let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
            let mut note = [size(name), size(content), 0x100u32.to_le_bytes()].concat();
            for part in [name, content] {
                note.extend(part);
                note.resize(note.len().next_multiple_of(4), 0);
            }
            note
        };
        let notes = [
            note(b"GA$\x013p1213\0", &[0; 16]),
            note(b"GA$\x05running gcc 12.3.1 20230508\0", b""),
            note(b"GA$\x05annobin gcc 12.2.1 20221121\0", b""),
            note(b"GA*FORTIFY\0\x02\0", b""),
            note(b"GA+GLIBCXX_ASSERTIONS\0", b""),
        ]
        .concat();
        let noted = Noted::read(&notes);
        assert!(noted.compilers.iter().eq(["gcc 12.3.1 20230508"]), "{noted:?}");
        assert!(noted.options.iter().eq(["-D_FORTIFY_SOURCE=2", "-D_GLIBCXX_ASSERTIONS"]), "{noted:?}");
        for len in 0..notes.len() {
            Noted::read(&notes[..len]);
        }
    }

    #[test]
    fn this_program_tells_its_libraries() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let origin = Origin::read(&own, None);
        assert!(origin.needed.contains("libc.so.6"), "{:?}", origin.needed);
        assert!(origin.compilers.iter().any(|c| c.contains("rustc") || c.contains("GCC")), "{origin:?}");
    }
}

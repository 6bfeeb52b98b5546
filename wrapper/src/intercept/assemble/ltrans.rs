//! Units that gcc's link-time optimiser makes during a link. It parts the whole program into pieces (`lto1
//! -fwpa`) and calls a driver for each (`gcc -xlto … -fltrans -o X.ltrans0.ltrans.o X.ltrans0.o`), whose
//! assembler is ours (gcc internals, "LTO"). The piece is a temporary file that holds everything its code is
//! made from; with a copy of it the call can be repeated at any time.
//!
//! With `-flto-partition=none` there is one call for the whole program (`gcc -xlto … -fresolution=R -o
//! X.lto.o a.o lib.a@0x92`), made from the linked objects themselves and from what the linker says of their
//! symbols; then all of these are copied.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::{IoContext, Result};
use crate::base::{files, hash};
use crate::intercept::parent::Parent;
use crate::record::recorder::Recorder;
use crate::record::unit::{Dep, LTRANS, UnitRecord};
use records::OsBytes;

/// Folder of the session for the copies.
const FOLDER: &str = "bytecode";

/// The option that names the linker's resolution file (gcc internals, "LTO").
const RESOLUTION: &[u8] = b"-fresolution=";

/// Fills in the piece that the driver `parent` compiles to the assembly text `text`.
pub(crate) fn describe(
    recorder: &Recorder,
    unit: &mut UnitRecord,
    parent: &Parent,
    text: &Path,
) -> Result<()> {
    unit.source = text.into();
    unit.language = LTRANS.to_owned();
    unit.lto = true;
    if parent.line.sources.is_empty() {
        unit.not_recompilable = Some("what link-time optimisation made it from is not known".to_owned());
        return Ok(());
    }
    // The driver finds out by itself where its passes are; the copies take the places of the files.
    let mut words = parent.expanded.clone();
    let mut renamed: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for source in &parent.line.sources {
        let (file, offset) = member(recorder, &source.name);
        let (sha256, kept) = recorder.keep_file(FOLDER, &file)?;
        let mut name = OsBytes::from(kept.as_path()).as_bytes().to_vec();
        name.extend_from_slice(offset);
        unit.deps.push(Dep { path: kept.into(), sha256 });
        renamed.push((source.name.clone(), name));
    }
    let by_name = |name: &[u8]| renamed.iter().find(|(from, _)| from == name).map(|(_, to)| to.clone());
    for word in &mut words {
        if let Some(name) = word.strip_prefix(RESOLUTION) {
            let (path, sha256) = keep_resolution(recorder, &recorder.absolute(name), &by_name)?;
            *word = [RESOLUTION, OsBytes::from(path.as_path()).as_bytes()].concat();
            unit.deps.push(Dep { path: path.into(), sha256 });
        } else if let Some(kept) = by_name(word) {
            *word = kept;
        }
    }
    unit.expanded_argv = words.into_iter().map(OsBytes::from).collect();
    unit.source = renamed[0].1.as_slice().into();
    Ok(())
}

/// The file of an input, and where in it the object begins if that is an archive: `@0x92`, else nothing.
fn member<'n>(recorder: &Recorder, name: &'n [u8]) -> (PathBuf, &'n [u8]) {
    let whole = recorder.absolute(name);
    if whole.exists() {
        return (whole, b"");
    }
    match memchr::memrchr(b'@', name) {
        Some(at) => (recorder.absolute(&name[..at]), &name[at..]),
        None => (whole, b""),
    }
}

/// A copy of the resolution file with other names for the objects.
fn keep_resolution(
    recorder: &Recorder,
    path: &Path,
    by_name: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<(PathBuf, String)> {
    let text = resolution(&fs::read(path).at("read", path)?, by_name);
    let sha256 = hash::sha256(&text);
    let kept = recorder.session.dir().join(FOLDER).join(&sha256);
    files::write(&kept, &text)?;
    Ok((kept, sha256))
}

/// The number of objects, then for each its name, the number of its symbols, and a line for each of them (GNU
/// linker plugin of gcc, `lto-plugin.c`).
fn resolution(text: &[u8], by_name: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut symbols = 0_usize;
    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if number == 0 || symbols > 0 {
            symbols = symbols.saturating_sub(1);
            out.extend_from_slice(line);
            continue;
        }
        let at = memchr::memrchr(b' ', line).unwrap_or(line.len());
        let count = std::str::from_utf8(&line[at..]).ok().and_then(|count| count.trim().parse().ok());
        symbols = count.unwrap_or(0);
        out.extend(by_name(&line[..at]).unwrap_or_else(|| line[..at].to_vec()));
        out.extend_from_slice(&line[at..]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_get_other_names_in_a_resolution() {
        let text = b"2\na b.o 2\n260 1cf0 PREVAILING_DEF main\n264 1cf0 RESOLVED_DYN x.o\nx.o 0\nlib.a@0x92 \
         1\n213 1a8b PREVAILING_DEF_IRONLY a b.o\n";
        let by_name = |name: &[u8]| {
            [(&b"a b.o"[..], &b"/k/1"[..]), (b"x.o", b"/k/2"), (b"lib.a@0x92", b"/k/3@0x92")]
                .iter()
                .find(|(from, _)| *from == name)
                .map(|(_, to)| to.to_vec())
        };
        let expected = b"2\n/k/1 2\n260 1cf0 PREVAILING_DEF main\n264 1cf0 RESOLVED_DYN x.o\n/k/2 \
         0\n/k/3@0x92 1\n213 1a8b PREVAILING_DEF_IRONLY a b.o\n";
        assert_eq!(resolution(text, &by_name), expected);
    }
}

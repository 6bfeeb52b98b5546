//! What the assembler reads besides the text that it is given (`.incbin`, `.include`): no compiler lists it,
//! and no scan of the source finds all of it, since macros may spell it. GNU as writes it down when it is
//! asked to (`--MD`, as(1)), and makes the same object.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::base::env;
use crate::inputs::dep_file;

/// Asks the assembler that this compiler will run, if that is ours. `list` is an empty file.
pub(crate) fn ask(compiler: &mut Command, list: &Path) {
    compiler.env(env::ASSEMBLED, list);
}

/// In the assembler that was asked: the words to add.
pub(crate) fn words(args: &[OsString]) -> Vec<OsString> {
    let Some(list) = std::env::var_os(env::ASSEMBLED) else { return Vec::new() };
    let told_elsewhere = args.iter().any(|word| word.as_encoded_bytes().starts_with(b"--MD"));
    match fs::metadata(&list) {
        Ok(meta) if meta.len() == 0 && !told_elsewhere => vec!["--MD".into(), list],
        // A second text: nobody shall take the list of the first for the whole.
        Ok(_) => {
            let _ = fs::write(&list, "");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// What the assembler read besides its text; `None` if it was not asked. It also lists the name that the text
/// gives itself, for debuggers.
pub(crate) fn read(list: &Path, text: Option<&Path>, source: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = dep_file::prerequisites(&fs::read(list).ok()?);
    if found.is_empty() {
        return None;
    }
    match text.map(|text| text.as_os_str().as_encoded_bytes()) {
        Some(text) => found.retain(|name| name != text),
        // Of a driver's temporary text only the ending is known. It is the last.
        None => drop(found.pop_if(|name| name.ends_with(b".s"))),
    }
    let base = source.rsplit(|byte| *byte == b'/').next().unwrap_or(source);
    found.retain(|name| name != source && name != base);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_gnu_as() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list");
        let read = |text: &str, input: Option<&str>, source: &str| {
            fs::write(&list, text).unwrap();
            let names = super::read(&list, input.map(Path::new), source.as_bytes())?;
            Some(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read("b.o: a.bin b.c /tmp/cc1.s\n", None, "src/b.c"), Some(vec!["a.bin".to_owned()]));
        assert_eq!(read("b.o: b.c /tmp/cc1.s\n", None, "b.c"), Some(vec![]));
        assert_eq!(read("x.o: i.s x.s\n", Some("x.s"), "x.s"), Some(vec!["i.s".to_owned()]));
        assert_eq!(read("", None, "b.c"), None);
    }
}

//! Units compiled by a clang that the build calls by its full path: it assembles by itself and calls nothing
//! of ours. But where the variables `CC_PRINT_OPTIONS` and `CC_PRINT_OPTIONS_FILE` are set (clang's driver,
//! `Driver.h`), it writes each command of its compiler proper, `clang -cc1 …`, and of its assembler, `clang
//! -cc1as …`, to that file. Whoever uses the objects next, our `ar` or our `ld`, reads the file and records
//! what it finds.
//!
//! Long lines of compilers that run at the same time may mix. What does not parse then is left out, so its
//! object stays without a record, and a fix that touches it is refused.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::base::error::Result;
use crate::base::files::Scratch;
use crate::base::hash::KeyHasher;
use crate::base::{env, streams};
use crate::command_line::clang_pass::{CC1, CC1AS, without_outputs};
use crate::inputs::{dep_file, examine};
use crate::record::probe::is_probe;
use crate::record::recorder::Recorder;
use crate::record::session::Session;
use crate::record::unit::{UnitKind, UnitRecord};
use records::OsBytes;

/// Its language.
const ASSEMBLER: &str = "assembler";

/// One command of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    driver: Vec<u8>,
    argv: Vec<Vec<u8>>,
    cwd: PathBuf,
    output: Vec<u8>,
    source: Vec<u8>,
    language: String,
}

/// Records the units of the log that have not been recorded yet. Gives the objects of all that it holds.
pub(crate) fn adopt(session: &Session) -> HashSet<PathBuf> {
    let Ok(text) = fs::read(session.clang_log()) else { return HashSet::new() };
    // An object made twice is that of the last command.
    let mut last: HashMap<PathBuf, Entry> = HashMap::new();
    for entry in text.split(|byte| *byte == b'\n').filter_map(parse) {
        let output = entry.cwd.join(OsBytes::from(entry.output.as_slice()).as_path());
        last.insert(output, entry);
    }
    let mut known = HashSet::new();
    for (output, entry) in last {
        if is_probe(&entry.source, &entry.cwd) || is_probe(&entry.output, &entry.cwd) {
            continue;
        }
        let Ok(meta) = fs::metadata(&output) else { continue };
        known.insert(output);
        // Objects are not read to know them again: a build of thousands has hundreds of links.
        if !claim(session, &entry, &meta) {
            continue;
        }
        let Ok(mut recorder) = Recorder::new(session.clone(), entry.argv.clone()) else { continue };
        recorder.cwd.clone_from(&entry.cwd);
        // When the compiler ran is not in the log; its object was there when it was done.
        let done = meta.modified().unwrap_or(recorder.started);
        recorder.started = done.checked_sub(Duration::from_secs(1)).unwrap_or(done);
        if let Err(error) = record(&mut recorder, &entry) {
            recorder.problem(&format!("unit {}", String::from_utf8_lossy(&entry.source)), &error.to_string());
        }
    }
    known
}

/// Is it ours to record? Several linkers may read the log at once.
fn claim(session: &Session, entry: &Entry, object: &fs::Metadata) -> bool {
    let mut key = KeyHasher::new("clang 1");
    key.field(OsBytes::from(entry.cwd.as_path()).as_bytes());
    entry.argv.iter().for_each(|word| key.field(word));
    for number in
        [object.ino(), object.size(), object.mtime().cast_unsigned(), object.mtime_nsec().cast_unsigned()]
    {
        key.field(&number.to_le_bytes());
    }
    let marker = session.scratch_dir().join(format!("clang-{}-{}", session.phase(), key.finish()));
    OpenOptions::new().write(true).create_new(true).open(marker).is_ok()
}

fn record(recorder: &mut Recorder, entry: &Entry) -> Result<()> {
    let mut unit = recorder.blank_unit(OsBytes::from(entry.driver.as_slice()).as_path());
    if !recorder.set_object(&mut unit, &entry.output)?.starts_with(b"\x7fELF") {
        return Ok(());
    }
    unit.expanded_argv.clone_from(&unit.argv);
    unit.kind = UnitKind::of_language(&entry.language);
    unit.language.clone_from(&entry.language);
    unit.source = entry.source.as_slice().into();
    unit.notes.push("recorded from clang's own log".to_owned());
    if entry.language == ASSEMBLER {
        assembled(recorder, entry, &mut unit);
        return recorder.write_unit(&unit);
    }
    if streams::descriptor(&entry.source).is_some() || streams::is_stream(&recorder.absolute(&entry.source)) {
        unit.not_recompilable = Some(streams::why(&entry.source));
        return recorder.write_unit(&unit);
    }
    recorder.add_input(&mut unit, &entry.source);
    match headers(recorder, entry) {
        Ok(names) => names.iter().for_each(|name| recorder.add_input(&mut unit, name)),
        Err(why) => {
            unit.notes.push(format!("headers are not known: {why}"));
            unit.untracked = Some(why);
        }
    }
    if unit.untracked.is_none() {
        unit.untracked = examine::untracked(recorder, &unit.deps, false);
    }
    recorder.write_unit(&unit)
}

/// The text was the build's own, or a temporary file that the preprocessor made of it.
fn assembled(recorder: &mut Recorder, entry: &Entry, unit: &mut UnitRecord) {
    if let Ok(dep) = recorder.dep(&entry.source) {
        let text = fs::read(dep.path.as_path()).unwrap_or_default();
        if crate::inputs::scan::unlisted(&text).is_some() {
            unit.notes.push("headers are not known: the assembler reads more files".to_owned());
            unit.untracked = Some("the assembler reads more files".to_owned());
        }
        unit.deps.push(dep);
        return;
    }
    let own = entry.argv.iter().position(|word| word == b"-main-file-name");
    if let Some(name) = own.and_then(|at| entry.argv.get(at + 1)) {
        unit.source = name.as_slice().into();
        unit.deps.extend(recorder.dep(name));
    }
    unit.notes.push("headers are not known: the preprocessor's output is gone".to_owned());
    unit.not_recompilable = Some(
        "clang, called by its full path, made it from a temporary file; let the build find clang on PATH"
            .into(),
    );
}

/// Runs the preprocessor alone, with a list of what it reads.
fn headers(recorder: &Recorder, entry: &Entry) -> std::result::Result<Vec<Vec<u8>>, String> {
    let list =
        Scratch::new(&recorder.session.scratch_dir(), "list").ok_or("there is no place for the list")?;
    let mut words = vec![OsBytes::from(list.path()).as_bytes().to_vec()];
    words.insert(0, b"-dependency-file".to_vec());
    words.extend([b"-MT".to_vec(), b"x".to_vec(), b"-sys-header-deps".to_vec()]);
    let mut all = without_outputs(&entry.argv, &words);
    for word in &mut all {
        if word == b"-emit-obj" {
            *word = b"-Eonly".to_vec();
        }
    }
    let status = Command::new(OsBytes::from(entry.driver.as_slice()).as_path())
        .args(all.iter().map(|word| OsBytes::from(word.as_slice()).as_os_str().to_owned()))
        .env(env::ACTIVE, "1")
        .current_dir(&entry.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("the compiler could not list them ({status})"));
    }
    fs::read(list.path()).map(|text| dep_file::prerequisites(&text)).map_err(|error| error.to_string())
}

fn parse(line: &[u8]) -> Option<Entry> {
    let mut words = unquote(line)?.into_iter();
    let driver = words.next().filter(|word| word.first() == Some(&b'/'))?;
    let argv: Vec<Vec<u8>> = words.collect();
    let once = |name: &[u8]| {
        let mut found = argv.iter().enumerate().filter(|(_, word)| *word == name).map(|(at, _)| at);
        found.next().filter(|_| found.next().is_none())
    };
    let value = |name: &[u8]| argv.get(once(name)? + 1).cloned();
    let assembles = argv.first().map(Vec::as_slice) == Some(CC1AS);
    let language = if assembles {
        (value(b"-filetype").as_deref() == Some(b"obj")).then(|| ASSEMBLER.as_bytes().to_vec())?
    } else {
        let ends_well = argv.len() > 4 && argv[argv.len() - 3] == b"-x";
        if argv.first().map(Vec::as_slice) != Some(CC1) || once(b"-emit-obj").is_none() || !ends_well {
            return None;
        }
        argv[argv.len() - 2].clone()
    };
    let joined = |name: &[u8]| argv.iter().find_map(|word| Some(word.strip_prefix(name)?.to_vec()));
    let cwd = joined(b"-fcoverage-compilation-dir=")
        .or_else(|| joined(b"-fdebug-compilation-dir="))
        .or_else(|| value(b"-fdebug-compilation-dir"))?;
    let cwd = OsBytes::from(cwd).as_path().to_path_buf();
    Some(Entry {
        output: value(b"-o")?,
        source: argv.last()?.clone(),
        language: String::from_utf8(language).ok()?,
        cwd: Some(cwd).filter(|dir| dir.is_absolute() && is_dir(dir))?,
        driver,
        argv,
    })
}

fn is_dir(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Words in double quotes with blanks between; a backslash takes the next byte as it is. `None` for anything
/// else.
fn unquote(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut bytes = line.iter().copied();
    loop {
        match bytes.next() {
            None => return Some(words),
            Some(b' ') => continue,
            Some(b'"') => {}
            Some(_) => return None,
        }
        let mut word = Vec::new();
        loop {
            match bytes.next()? {
                b'"' => break,
                b'\\' => word.push(bytes.next()?),
                byte => word.push(byte),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = concat!(
        r#" "/usr/bin/clang" "-cc1" "-emit-obj" "-D" "X=\"a b\"" "-fcoverage-compilation-dir=/tmp" "-o" "x.o""#,
        r#" "-dependency-file" "x.d" "-x" "c" "a b.c""#
    );

    #[test]
    fn a_line_is_taken_apart() {
        let entry = parse(LINE.as_bytes()).unwrap();
        assert_eq!(entry.driver, b"/usr/bin/clang");
        assert_eq!((entry.output.as_slice(), entry.source.as_slice()), (&b"x.o"[..], &b"a b.c"[..]));
        assert_eq!((entry.language.as_str(), entry.cwd.as_path()), ("c", Path::new("/tmp")));
        assert!(entry.argv.contains(&b"X=\"a b\"".to_vec()));
        let again = without_outputs(&entry.argv, &[b"-ffunction-sections".to_vec()]);
        let again: Vec<_> = again.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(
            again[again.len() - 4..],
            ["-x", "c", "-ffunction-sections", "a b.c"].map(str::to_owned)[..]
        );
        assert!(!again.contains(&"x.d".to_owned()) && !again.contains(&"x.o".to_owned()));
    }

    #[test]
    fn lines_that_were_mixed_are_left_out() {
        let middle = LINE.len() / 2;
        for bad in [
            format!("{}{}", &LINE[..middle], LINE),
            LINE[..LINE.len() - 4].to_owned(),
            LINE.replace("-emit-obj", "-emit-llvm-bc"),
            "[Logging clang options]".to_owned(),
            " (in-process)".to_owned(),
            String::new(),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

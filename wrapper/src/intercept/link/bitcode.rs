//! What LLVM's link-time optimisation makes of a program. The linker does it in its own process and keeps
//! nothing. But it can be told to leave the objects that it made, `--lto-obj-path` of lld or `obj-path` of
//! LLVM's linker plugin (`gold-plugin.cpp`), and those of ThinLTO, `--thinlto-cache-dir`.
//!
//! The build's own link is left alone: asked to leave an object, LLVM adds an empty one to a program that has
//! parts of ThinLTO only. Afterwards the link is done once more with these options, and what it made counts
//! only if all that gets into memory is the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::error::{IoContext, Result};
use crate::base::loaded::same_when_loaded;
use crate::base::{env, files, streams};
use crate::command_line::linker::LinkLine;
use crate::record::recorder::Recorder;
use crate::record::unit::{LLVM, UnitRecord};
use crate::sys::child::{self, End};
use records::LinkInput;
use records::OsBytes;

/// First bytes of a file of bitcode (LLVM Bitcode File Format, "Magic Numbers").
const MAGIC: &[u8] = b"BC\xc0\xde";

/// Names that lld gives to the objects in its map, where they are not files of its cache.
const UNNAMED: &str = "lto.tmp";

/// Options that write more files than the output, without dashes; all may have their argument in the next
/// word or behind `=`.
const SIDE_EFFECTS: &[&[u8]] = &[b"dependency-file", b"out-implib"];

/// Options that write more files and have no argument in the next word.
const TEMPORARIES: &[&[u8]] = &[b"save-temps", b"plugin-opt=save-temps", b"time-trace"];

/// Is this bitcode?
pub(crate) fn is_bitcode(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// What was made, as inputs of the link that `map` is of.
pub(crate) struct BitcodeObjects {
    pub(crate) pieces: Vec<LinkInput>,
    pub(crate) map: Vec<u8>,
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Links once more. The output of the first time must be there.
///
/// # Errors
/// In words, when that does not give the same output, or not all that was made.
pub(crate) fn made(
    recorder: &mut Recorder,
    real: &Path,
    line: &LinkLine,
    lld: bool,
) -> std::result::Result<BitcodeObjects, String> {
    let text = |error: crate::Error| error.to_string();
    let values = recorder.argv.iter().flat_map(|word| word.split(|byte| matches!(byte, b'=' | b'@')));
    if values.map(|value| recorder.absolute(value)).any(|path| streams::is_stream(&path)) {
        return Err("the linker read a pipe, so it cannot be run once more".into());
    }
    let folder = Folder(recorder.session.scratch_dir().join(format!("llvm-{}", files::unique())));
    fs::create_dir_all(&folder.0).at("create", &folder.0).map_err(text)?;
    let again = Again { recorder, real, folder: &folder.0, lld };
    let output = recorder.absolute(&line.output);
    let output = fs::read(&output).at("read", &output).map_err(text)?;
    // The cache knows the parts that were made the first time.
    let same = again.run(true)? == output
        || lld && again.run(false)? == output
        || !lld && same_when_loaded(&again.output()?, &output);
    if !same {
        return Err(
            "linked once more, to see what link-time optimisation makes, the output is another".into()
        );
    }
    let map = fs::read(again.map()).at("read", &again.map()).map_err(text)?;
    let found = again.found(&map).map_err(text)?;
    let mut pieces = Vec::new();
    for (file, name) in found {
        let unit = unit(recorder, real, line, &file).map_err(text)?;
        pieces.push(LinkInput { path: name, member: None, sha256: unit.object_sha256, occurrence: 0 });
    }
    if pieces.is_empty() {
        return Err("the linker left no object of link-time optimisation".into());
    }
    Ok(BitcodeObjects { pieces, map })
}

fn unit(recorder: &mut Recorder, real: &Path, line: &LinkLine, object: &Path) -> Result<UnitRecord> {
    let mut unit = recorder.blank_unit(real);
    recorder.set_object(&mut unit, OsBytes::from(object).as_bytes())?;
    unit.source = line.output.as_slice().into();
    unit.language = LLVM.to_owned();
    unit.lto = true;
    unit.not_recompilable = Some("the linker made it".to_owned());
    recorder.write_unit(&unit)?;
    Ok(unit)
}

struct Again<'a> {
    recorder: &'a Recorder,
    real: &'a Path,
    folder: &'a Path,
    lld: bool,
}

impl Again<'_> {
    fn map(&self) -> PathBuf {
        self.folder.join("map")
    }

    fn object(&self) -> PathBuf {
        self.folder.join("object.o")
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// What the last link gave.
    fn output(&self) -> std::result::Result<Vec<u8>, String> {
        let output = self.folder.join("output");
        fs::read(&output).at("read", &output).map_err(|error| error.to_string())
    }

    /// The output of another link.
    fn run(&self, keep_object: bool) -> std::result::Result<Vec<u8>, String> {
        let output = self.folder.join("output");
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(name);
            option.push(path);
            option
        };
        let mut command = Command::new(self.real);
        let words = without_side_effects(&self.recorder.argv);
        command.args(words.iter().map(|word| OsBytes::from(word.as_slice()).as_os_str().to_owned()));
        command.arg(option("-Map=", &self.map())).arg("-o").arg(&output);
        if self.lld {
            command.arg(option("--thinlto-cache-dir=", &self.cache()));
        }
        if keep_object {
            let name = if self.lld { "--lto-obj-path=" } else { "-plugin-opt=obj-path=" };
            command.arg(option(name, &self.object()));
        } else {
            let _ = fs::remove_file(self.object());
        }
        command.env(env::ACTIVE, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match child::run(&mut command, false) {
            Ok((End::Code(0), _)) => self.output(),
            Ok(_) => Err("the linker cannot leave the objects of link-time optimisation".to_owned()),
            Err(error) => Err(format!("{}: cannot run: {error}", self.real.display())),
        }
    }

    /// The objects, and how the map names them.
    fn found(&self, map: &[u8]) -> Result<Vec<(PathBuf, OsBytes)>> {
        let named = |path: &Path| memchr::memmem::find(map, OsBytes::from(path).as_bytes()).is_some();
        let unnamed = memchr::memmem::find(map, UNNAMED.as_bytes()).is_some();
        let mut found = Vec::new();
        // One file for each part, `object.o`, `object.o1`, …; those of parts that came out of the cache are
        // empty.
        for path in filled(self.folder)?.into_iter().filter(|path| starts_with(path, &self.object())) {
            let name = if named(&path) || !unnamed { path.as_path().into() } else { OsBytes::from(UNNAMED) };
            found.push((path, name));
        }
        if self.lld {
            let cached = filled(&self.cache())?.into_iter().filter(|path| named(path));
            found.extend(cached.map(|path| (path.clone(), OsBytes::from(path))));
        }
        Ok(found)
    }
}

fn starts_with(path: &Path, start: &Path) -> bool {
    OsBytes::from(path).as_bytes().starts_with(OsBytes::from(start).as_bytes())
}

/// Files of a folder that are not empty; none if there is no such folder.
fn filled(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.at("read", folder)?.path();
        if fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() > 0) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn without_side_effects(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let option = word.strip_prefix(b"--").or(word.strip_prefix(b"-")).unwrap_or_default();
        if SIDE_EFFECTS.contains(&option) {
            let _ = words.next();
            continue;
        }
        let joined = |name: &&&[u8]| option.strip_prefix(**name).is_some_and(|rest| rest.starts_with(b"="));
        if SIDE_EFFECTS.iter().any(|name| joined(&name))
            || TEMPORARIES.iter().any(|name| option.starts_with(name))
        {
            continue;
        }
        kept.push(word.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_output_is_written() {
        let words =
            |text: &str| -> Vec<Vec<u8>> { text.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
        let line = "a.o --dependency-file x.d -dependency-file=y.d --save-temps=prelink \
         -plugin-opt=save-temps -o prog --time-trace -lm";
        assert_eq!(without_side_effects(&words(line)), words("a.o -o prog -lm"));
    }
}

//! What went into a link: what its command line names, and what only its map tells.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use crate::base::error::Result;
use crate::base::files;
use crate::command_line::linker::LinkLine;
use crate::intercept::link::file_kind::{FileKind, is_relocatable, kind_of};
use crate::intercept::link::{archive, bitcode, map_files};
use crate::record::recorder::Recorder;
use crate::record::unit::{LTRANS, UnitRecord};
use records::LinkInput;
use records::OsBytes;

/// Everything that went into a link.
#[derive(Default)]
pub(super) struct LinkInputs {
    pub(super) objects: Vec<LinkInput>,
    pub(super) shared: Vec<OsBytes>,
    pub(super) notes: Vec<String>,
    /// Some of them are LLVM's bitcode.
    pub(super) bitcode: bool,
}

pub(super) fn gather(recorder: &mut Recorder, line: &LinkLine) -> LinkInputs {
    let mut inputs = LinkInputs::default();
    let mut seen: HashMap<(Vec<u8>, Option<Vec<u8>>), u32> = HashMap::new();
    let mut named = HashSet::new();
    for file in &line.files {
        let Some(path) = line.find(file, &recorder.cwd) else {
            inputs.notes.push(format!("input {} was not found", String::from_utf8_lossy(&file.name)));
            continue;
        };
        // An archive may be named again, since libraries need each other. It then gives only members that it
        // has not given yet.
        if !named.insert(path.clone()) && kind_of(&recorder.absolute(path.as_bytes())) == FileKind::Archive {
            continue;
        }
        if let Err(error) = gather_one(recorder, &path, &mut inputs, &mut seen) {
            inputs.notes.push(format!("input {}: {error}", path.to_string_lossy()));
        }
    }
    recorder.memo.save();
    inputs
}

fn gather_one(
    recorder: &mut Recorder,
    path: &OsBytes,
    inputs: &mut LinkInputs,
    seen: &mut HashMap<(Vec<u8>, Option<Vec<u8>>), u32>,
) -> Result<()> {
    let mut add = |member: Option<Vec<u8>>, sha256: String, inputs: &mut LinkInputs| {
        let count = seen.entry((path.as_bytes().to_vec(), member.clone())).or_insert(0);
        let occurrence = *count;
        *count += 1;
        let member = member.map(OsBytes::from);
        inputs.objects.push(LinkInput { path: path.clone(), member, sha256, occurrence });
    };
    let absolute = recorder.absolute(path.as_bytes());
    let kind = kind_of(&absolute);
    match kind {
        FileKind::Archive if is_system(&absolute) => add(None, recorder.memo.sha256(&absolute)?, inputs),
        FileKind::Archive => {
            let mut bitcode = false;
            let members = archive::members(&absolute, |sha256, data| {
                bitcode |= bitcode::is_bitcode(data);
                recorder.keep_input(sha256, data)
            })?;
            inputs.bitcode |= bitcode;
            for (name, sha256) in members {
                add(Some(name), sha256, inputs);
            }
        }
        FileKind::Shared => inputs.shared.push(path.clone()),
        FileKind::Object | FileKind::Bitcode => {
            inputs.bitcode |= kind == FileKind::Bitcode;
            let sha256 = recorder.memo.sha256(&absolute)?;
            if !is_system(&absolute) {
                files::copy_once(&absolute, &recorder.object_file(&sha256))?;
            }
            add(None, sha256, inputs);
        }
        FileKind::Other => inputs.notes.push(format!("input {} is a linker script", path.to_string_lossy())),
    }
    Ok(())
}

/// Archives that the system brings: their members are no units of this build.
fn is_system(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/opt/rh"].iter().any(|folder| path.starts_with(folder))
}

/// Shared libraries that came in through linker scripts, such as `libc.so`: GNU ld names them in its map.
pub(super) fn loaded_libraries(recorder: &Recorder, map: &[u8], inputs: &mut LinkInputs) {
    for name in map.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"LOAD ")) {
        let name = OsBytes::from(name);
        if !inputs.shared.contains(&name) && kind_of(&recorder.absolute(name.as_bytes())) == FileKind::Shared
        {
            inputs.shared.push(name);
        }
    }
}

/// Objects and archives that linker scripts name: the map has them, the command line has not. What the system
/// brings through its own, such as `libc_nonshared.a` through `libc.so`, is no part of this build.
pub(super) fn from_scripts(recorder: &mut Recorder, map: &[u8], inputs: &mut LinkInputs) {
    let known: HashSet<OsBytes> = inputs.objects.iter().map(|input| input.path.clone()).collect();
    let made_by_plugin = |name: &[u8]| [&b".ltrans"[..], b".lto.o"].iter().any(|part| contains(name, part));
    let mut seen = HashMap::new();
    for name in map_files::named(map).into_iter().map(OsBytes::from) {
        let path = recorder.absolute(name.as_bytes());
        if known.contains(&name) || made_by_plugin(name.as_bytes()) || !path.is_file() || is_system(&path) {
            continue;
        }
        let linked = match kind_of(&path) {
            FileKind::Archive | FileKind::Bitcode => true,
            FileKind::Object => is_relocatable(&path),
            FileKind::Shared | FileKind::Other => false,
        };
        if !linked {
            continue;
        }
        if let Err(error) = gather_one(recorder, &name, inputs, &mut seen) {
            inputs.notes.push(format!("input {}: {error}", name.to_string_lossy()));
        }
    }
    recorder.memo.save();
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Objects that a linker plugin added: the map names them, the assembler's wrapper has recorded them as
/// units, the files are gone by now.
pub(super) fn plugin_objects(recorder: &Recorder, map: &[u8], inputs: &mut LinkInputs) -> bool {
    let named = |name: &[u8]| contains(map, name);
    if !named(b".ltrans") && !named(b".lto.o") {
        return false;
    }
    let units = recorder.session.phase_dir(recorder.session.phase()).join("units");
    let units: Vec<UnitRecord> = files::read_all(&units).unwrap_or_default();
    let before = inputs.objects.len();
    for unit in units.iter().filter(|unit| unit.language == LTRANS) {
        let spelt = [&unit.object_path, &unit.object].into_iter().find(|name| named(name.as_bytes()));
        if let Some(name) = spelt {
            inputs.objects.push(LinkInput {
                path: name.clone(),
                member: None,
                sha256: unit.object_sha256.clone(),
                occurrence: 0,
            });
        }
    }
    if inputs.objects.len() == before {
        inputs.notes.push("objects of link-time optimisation have no record".to_owned());
    }
    true
}

//! The linker was called.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::OsBytes;
use crate::archive;
use crate::assemble::Parent;
use crate::bitcode;
use crate::clanglog;
use crate::env;
use crate::error::Result;
use crate::files;
use crate::ldline::LinkLine;
use crate::ltrans;
use crate::mapfiles;
use crate::names::Tool;
use crate::record::{LinkInput, LinkRecord, MapFlavour, RECORD_VERSION, UnitRecord};
use crate::recorder::{Recorder, is_probe};
use crate::response;
use crate::session::Session;
use crate::sys::child::{self, End};
use crate::tool::{self, Next};

pub(crate) fn run(session: Session, real: &Path, argv: Vec<Vec<u8>>) -> Next {
    let Ok(cwd) = env::working_directory() else { return Next::Exec };
    let expanded = response::expand(&argv, &cwd);
    let line = LinkLine::parse(&expanded);
    let probe = is_probe(&line.output, &cwd) || line.files.iter().any(|file| is_probe(&file.name, &cwd));
    if line.question
        || line.files.is_empty()
        || probe
        || matches!(line.output.as_slice(), b"/dev/null" | b"-")
    {
        return Next::Exec;
    }
    let by_log = clanglog::adopt(&session);
    let Ok(mut recorder) = Recorder::new(session, argv) else { return Next::Exec };
    // Before the link: the output may be one of the inputs, and the driver's own objects vanish afterwards.
    let inputs = gather(&mut recorder, &line);
    if let Some(parent) = Parent::read().filter(Parent::links) {
        recorder.started = crate::assemble::parent_started().unwrap_or(recorder.started);
        clang_units(&mut recorder, &parent, &line, &by_log);
    }
    let own_map = recorder.session.dir().join("maps").join(format!("{}.map", files::unique()));
    // A map that cannot be written would fail the link.
    let add_map = line.map.is_none() && !line.prints_map && fs::File::create(&own_map).is_ok();
    let mut command = tool::recorded_command(&recorder, real, Tool::Linker);
    if add_map {
        let mut option = std::ffi::OsString::from("-Map=");
        option.push(&own_map);
        command.arg(option);
    }
    let Ok((end, _)) = child::run(&mut command, false) else { return Next::Exec };
    if end != End::Code(0) {
        let _ = fs::remove_file(&own_map);
        return Next::Done(end);
    }
    if let (Some(theirs), false) = (&line.map, add_map) {
        let theirs = recorder.absolute(theirs);
        if fs::metadata(&theirs).is_ok_and(|meta| meta.is_file()) {
            let _ = fs::copy(&theirs, &own_map);
        }
    }
    let what = format!("link of {}", String::from_utf8_lossy(&line.output));
    if !fs::metadata(&own_map).is_ok_and(|meta| meta.len() > 0) {
        let _ = fs::remove_file(&own_map);
        recorder.problem(&what, "there is no map file: -M printed it instead, or it could not be written");
    }
    if let Err(error) = record(&mut recorder, real, &expanded, &line, inputs, &own_map) {
        recorder.problem(&what, &error.to_string());
    }
    Next::Done(end)
}

#[derive(Default)]
struct Inputs {
    objects: Vec<LinkInput>,
    shared: Vec<OsBytes>,
    notes: Vec<String>,
    /// Some of them are LLVM's bitcode.
    bitcode: bool,
}

fn gather(recorder: &mut Recorder, line: &LinkLine) -> Inputs {
    let mut inputs = Inputs::default();
    let mut seen: HashMap<(Vec<u8>, Option<Vec<u8>>), u32> = HashMap::new();
    let mut named = HashSet::new();
    for file in &line.files {
        let Some(path) = line.find(file, &recorder.cwd) else {
            inputs.notes.push(format!("input {} was not found", String::from_utf8_lossy(&file.name)));
            continue;
        };
        // One that is named again, since libraries need each other, gives what it has not given yet: no member twice.
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
    inputs: &mut Inputs,
    seen: &mut HashMap<(Vec<u8>, Option<Vec<u8>>), u32>,
) -> Result<()> {
    let mut add = |member: Option<Vec<u8>>, sha256: String, inputs: &mut Inputs| {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Archive,
    Shared,
    Object,
    Bitcode,
    Other,
}

/// By the first bytes; `e_type` is at offset 16 of an ELF file (gABI, "ELF Header").
pub(crate) fn kind_of(path: &Path) -> FileKind {
    const ET_DYN: u8 = 3;
    let mut head = [0_u8; 18];
    let count = fs::File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    match &head[..count] {
        head if head.starts_with(archive::MAGIC) || head.starts_with(archive::THIN_MAGIC) => {
            FileKind::Archive
        }
        head if head.starts_with(b"\x7fELF") && head.get(16) == Some(&ET_DYN) => FileKind::Shared,
        head if head.starts_with(b"\x7fELF") => FileKind::Object,
        head if bitcode::is_bitcode(head) => FileKind::Bitcode,
        _ => FileKind::Other,
    }
}

/// Archives that the system brings: their members are no units of this build.
fn is_system(path: &Path) -> bool {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/opt/rh"].iter().any(|folder| path.starts_with(folder))
}

fn record(
    recorder: &mut Recorder,
    real: &Path,
    expanded: &[Vec<u8>],
    line: &LinkLine,
    mut inputs: Inputs,
    map: &Path,
) -> Result<()> {
    let output = recorder.absolute(&line.output);
    let (output_sha256, saved) = recorder.keep_file("outputs", &output)?;
    let map_flavour = flavour(real);
    let mut text = fs::read(map).ok();
    let mut lto = false;
    if let Some(text) = &text {
        loaded_libraries(recorder, text, &mut inputs);
    }
    if let (Some(text), true) = (&text, line.plugin) {
        lto = plugin_objects(recorder, text, &mut inputs);
    }
    // With bitcode, the map also names what the linker has made of it, perhaps in a folder of the build's own.
    if let (Some(text), false) = (&text, inputs.bitcode) {
        from_scripts(recorder, text, &mut inputs);
    }
    if inputs.bitcode {
        match bitcode::made(recorder, real, line, map_flavour == MapFlavour::Lld) {
            Ok(made) => {
                inputs.objects.extend(made.pieces);
                files::write(map, &made.map)?;
                text = Some(made.map);
                lto = true;
            }
            Err(why) => recorder.problem(&format!("link-time optimisation of {}", output.display()), &why),
        }
    }
    let link = LinkRecord {
        version: RECORD_VERSION,
        id: files::unique(),
        linker: real.into(),
        argv: recorder.argv.iter().map(|word| word.as_slice().into()).collect(),
        expanded_argv: expanded.iter().map(|word| word.as_slice().into()).collect(),
        cwd: recorder.cwd.as_path().into(),
        output: output.into(),
        output_sha256,
        saved: saved.into(),
        map: text.is_some().then(|| map.into()),
        map_flavour,
        inputs: inputs.objects,
        shared_libs: inputs.shared,
        relocatable: line.relocatable,
        shared: line.shared,
        lto,
        phase: recorder.session.phase().to_owned(),
        notes: inputs.notes,
    };
    recorder.write_link(&link)
}

/// The linker's family by its file's name, else by what it says of itself.
fn flavour(real: &Path) -> MapFlavour {
    let by_text = |text: &str| {
        let text = text.to_ascii_lowercase();
        [
            ("gold", MapFlavour::Gold),
            ("mold", MapFlavour::Mold),
            ("lld", MapFlavour::Lld),
            ("bfd", MapFlavour::Bfd),
            ("gnu ld", MapFlavour::Bfd),
        ]
        .into_iter()
        .find_map(|(word, flavour)| text.contains(word).then_some(flavour))
    };
    let target = fs::canonicalize(real).unwrap_or_else(|_| real.to_path_buf());
    target.file_name().and_then(|name| by_text(&name.to_string_lossy())).unwrap_or_else(|| {
        let output = Command::new(real).arg("--version").env(env::ACTIVE, "1").output();
        output
            .ok()
            .and_then(|it| by_text(&String::from_utf8_lossy(&it.stdout)))
            .unwrap_or(MapFlavour::Unknown)
    })
}

/// Shared libraries that came in through linker scripts, such as `libc.so`: GNU ld names them in its map.
fn loaded_libraries(recorder: &Recorder, map: &[u8], inputs: &mut Inputs) {
    for name in map.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"LOAD ")) {
        let name = OsBytes::from(name);
        if !inputs.shared.contains(&name) && kind_of(&recorder.absolute(name.as_bytes())) == FileKind::Shared
        {
            inputs.shared.push(name);
        }
    }
}

/// Objects and archives that linker scripts name: the map has them, the command line has not. What the system brings through its
/// own, such as `libc_nonshared.a` through `libc.so`, is no part of this build.
fn from_scripts(recorder: &mut Recorder, map: &[u8], inputs: &mut Inputs) {
    let known: HashSet<OsBytes> = inputs.objects.iter().map(|input| input.path.clone()).collect();
    let made_by_plugin = |name: &[u8]| [&b".ltrans"[..], b".lto.o"].iter().any(|part| contains(name, part));
    let mut seen = HashMap::new();
    for name in mapfiles::named(map).into_iter().map(OsBytes::from) {
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

/// A file of which the linker takes the symbols alone (`-R`) may be a program.
pub(crate) fn is_relocatable(path: &Path) -> bool {
    const ET_REL: u8 = 1;
    let mut head = [0_u8; 18];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head[16] == ET_REL
}

/// Objects that a linker plugin added: the map names them, the assembler's wrapper has recorded them as units, the
/// files are gone by now.
fn plugin_objects(recorder: &Recorder, map: &[u8], inputs: &mut Inputs) -> bool {
    let named = |name: &[u8]| contains(map, name);
    if !named(b".ltrans") && !named(b".lto.o") {
        return false;
    }
    let units = recorder.session.phase_dir(recorder.session.phase()).join("units");
    let units: Vec<UnitRecord> = files::read_all(&units).unwrap_or_default();
    let before = inputs.objects.len();
    for unit in units.iter().filter(|unit| unit.language == ltrans::LANGUAGE) {
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

/// clang assembles by itself; when it compiles and links in one go, its temporary objects are seen here only.
/// They are called after their source: `/tmp/NAME-1a2b3c.o`.
fn clang_units(recorder: &mut Recorder, parent: &Parent, line: &LinkLine, by_log: &HashSet<PathBuf>) {
    if !parent.exe.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"clang")) {
        return;
    }
    for source in &parent.line.sources {
        let base = source.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let stem = base.iter().rposition(|byte| *byte == b'.').map_or(base, |dot| &base[..dot]);
        let what = format!("unit {}", String::from_utf8_lossy(&source.name));
        let mut fitting = line.files.iter().filter(|file| temporary_of(&file.name, stem));
        let (Some(file), None) = (fitting.next(), fitting.next()) else {
            recorder.problem(&what, "clang's temporary object cannot be told from others");
            continue;
        };
        if by_log.contains(&recorder.absolute(&file.name)) {
            continue;
        }
        if let Err(error) = clang_unit(recorder, parent, source, &file.name) {
            recorder.problem(&what, &error.to_string());
        }
    }
}

fn temporary_of(object: &[u8], stem: &[u8]) -> bool {
    let base = object.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    base.strip_suffix(b".o")
        .and_then(|base| base.strip_prefix(stem)?.strip_prefix(b"-"))
        .is_some_and(|hex| !hex.is_empty() && hex.iter().all(u8::is_ascii_alphanumeric))
}

fn clang_unit(
    recorder: &mut Recorder,
    parent: &Parent,
    source: &crate::cmdline::Source,
    object: &[u8],
) -> Result<()> {
    let mut unit = recorder.blank_unit(&parent.exe);
    recorder.set_object(&mut unit, object)?;
    crate::assemble::describe(recorder, &mut unit, parent, source, None);
    unit.notes.push("recorded by the linker's call".to_owned());
    recorder.write_unit(&unit)
}

/// Absolute path below a directory.
pub(crate) fn below(cwd: &Path, name: &[u8]) -> PathBuf {
    cwd.join(OsBytes::from(name).as_path())
}

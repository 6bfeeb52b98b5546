//! The linker was called.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::base::error::Result;
use crate::base::{env, files};
use crate::command_line::driver::Source;
use crate::command_line::linker::LinkLine;
use crate::command_line::response;
use crate::intercept::call::{self, Next};
use crate::intercept::compile::{clang_log, described};
use crate::intercept::link::bitcode;
use crate::intercept::link::inputs::{self, LinkInputs};
use crate::intercept::parent::{self, Parent};
use crate::record::probe::is_probe;
use crate::record::recorder::Recorder;
use crate::record::session::Session;
use crate::record::unit::RECORD_VERSION;
use crate::sys::child::{self, End};
use crate::tools::names::Tool;
use records::{LinkRecord, MapFlavour};

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
    let by_log = clang_log::adopt(&session);
    let Ok(mut recorder) = Recorder::new(session, argv) else { return Next::Exec };
    // Before the link: the output may be one of the inputs, and the driver's own objects vanish afterwards.
    let inputs = inputs::gather(&mut recorder, &line);
    if let Some(parent) = Parent::read().filter(Parent::links) {
        recorder.started = parent::parent_started().unwrap_or(recorder.started);
        clang_units(&mut recorder, &parent, &line, &by_log);
    }
    let own_map = recorder.session.dir().join("maps").join(format!("{}.map", files::unique()));
    // A map that cannot be written would fail the link.
    let add_map = line.map.is_none() && !line.prints_map && fs::File::create(&own_map).is_ok();
    let mut command = call::recorded_command(&recorder, real, Tool::Linker);
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

fn record(
    recorder: &mut Recorder,
    real: &Path,
    expanded: &[Vec<u8>],
    line: &LinkLine,
    mut inputs: LinkInputs,
    map: &Path,
) -> Result<()> {
    let output = recorder.absolute(&line.output);
    let (output_sha256, saved) = recorder.keep_file("outputs", &output)?;
    let map_flavour = flavour(real);
    let mut text = fs::read(map).ok();
    let mut lto = false;
    if let Some(text) = &text {
        inputs::loaded_libraries(recorder, text, &mut inputs);
    }
    if let (Some(text), true) = (&text, line.plugin) {
        lto = inputs::plugin_objects(recorder, text, &mut inputs);
    }
    // With bitcode, the map also names what the linker has made of it, perhaps in a folder of the build's
    // own.
    if let (Some(text), false) = (&text, inputs.bitcode) {
        inputs::from_scripts(recorder, text, &mut inputs);
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
        phase: recorder.session.phase(),
        copied: Vec::new(),
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

fn clang_unit(recorder: &mut Recorder, parent: &Parent, source: &Source, object: &[u8]) -> Result<()> {
    let mut unit = recorder.blank_unit(&parent.exe);
    recorder.set_object(&mut unit, object)?;
    described::describe(recorder, &mut unit, parent, source, None);
    unit.notes.push("recorded by the linker's call".to_owned());
    recorder.write_unit(&unit)
}

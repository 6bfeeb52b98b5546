//! What a unit is made from, by the command line of the driver that made it.

use crate::base::paths::base_name;
use crate::base::streams;
use crate::command_line::driver::Source;
use crate::inputs::examine;
use crate::intercept::parent::Parent;
use crate::record::recorder::Recorder;
use crate::record::unit::{UnitKind, UnitRecord};

/// Fills in the source and all else that the unit is made from; `read` is what the assembler says that it
/// read.
pub(crate) fn describe(
    recorder: &mut Recorder,
    unit: &mut UnitRecord,
    parent: &Parent,
    source: &Source,
    read: Option<&[Vec<u8>]>,
) {
    unit.driver = parent.exe.as_path().into();
    unit.argv = parent.argv.iter().map(|word| word.as_slice().into()).collect();
    unit.expanded_argv = parent.expanded.iter().map(|word| word.as_slice().into()).collect();
    unit.source = source.name.as_slice().into();
    unit.language.clone_from(&source.language);
    unit.kind = UnitKind::of_language(&source.language);
    if streams::descriptor(&source.name).is_some() || streams::is_stream(&recorder.absolute(&source.name)) {
        unit.not_recompilable = Some(streams::why(&source.name));
        return;
    }
    recorder.add_input(unit, &source.name);
    parent.line.reads.iter().for_each(|name| recorder.add_input(unit, name));
    if source.language != "assembler" && !source.language.ends_with("cpp-output") {
        match examine::ask_compiler(&parent.exe, &parent.line, source, recorder) {
            Ok(headers) => headers.iter().for_each(|name| recorder.add_input(unit, name)),
            Err(why) => {
                unit.notes.push(format!("headers are not known: {why}"));
                unit.untracked = Some(format!("headers are not known: {why}"));
            }
        }
        for header in examine::precompiled(recorder, &parent.exe, &parent.line, source).unwrap_or_default() {
            recorder.add_input(unit, header.as_os_str().as_encoded_bytes());
        }
    }
    assembled_from(recorder, unit, read);
}

/// Adds what the assembler read besides its text, if it told, and what may be missing all the same.
pub(crate) fn assembled_from(recorder: &mut Recorder, unit: &mut UnitRecord, read: Option<&[Vec<u8>]>) {
    let own = unit.source.clone();
    for name in read.into_iter().flatten().filter(|name| base_name(name) != base_name(own.as_bytes())) {
        if recorder.absolute(name).exists() {
            recorder.add_input(unit, name);
        }
    }
    if unit.untracked.is_none() {
        unit.untracked = examine::untracked(recorder, &unit.deps, read.is_some());
    }
}

//! A call of objcopy or strip. The object that it makes of a recorded object still belongs to that object's
//! unit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::error::Result;
use crate::base::{files, hash};
use crate::command_line::copier::{self, CopyLine};
use crate::command_line::response;
use crate::intercept::call::{self, Next};
use crate::intercept::link::archive;
use crate::intercept::link::file_kind::{FileKind, is_relocatable, kind_of};
use crate::record::recorder::Recorder;
use crate::record::session::{INPUTS, Session};
use crate::record::unit::{CopyRecord, RECORD_VERSION};
use crate::sys::child::{self, End};
use crate::tools::names::Tool;
use records::OsBytes;
use records::Pass;

/// Members by name and hash; an object is one without a name.
type Contents = Vec<(Vec<u8>, String)>;

pub(crate) fn run(session: Session, tool: Tool, real: &Path, argv: Vec<Vec<u8>>) -> Next {
    let Ok(mut recorder) = Recorder::new(session, argv) else { return Next::Exec };
    let expanded = response::expand(&recorder.argv, &recorder.cwd);
    let Some(line) = copier::parse(tool == Tool::Strip, &expanded) else { return Next::Exec };
    let mut todo: Vec<(PathBuf, Contents)> = Vec::new();
    for (input, output) in &line.files {
        if let Some(before) = contents(&recorder, &recorder.absolute(input), false) {
            todo.push((recorder.absolute(output), before));
        }
    }
    if todo.is_empty() {
        return Next::Exec;
    }
    // This is read before the run, since the run may remove it.
    let pass = pass(&recorder, real, &line);
    let Ok((end, _)) = child::run(&mut call::recorded_command(&recorder, real, tool), false) else {
        return Next::Exec;
    };
    if end != End::Code(0) {
        return Next::Done(end);
    }
    for (output, before) in todo {
        if let Err(error) = pass.as_ref().map_err(Clone::clone).and_then(|pass| {
            record(&mut recorder, &output, &before, pass.as_ref()).map_err(|error| error.to_string())
        }) {
            recorder.problem(&format!("copy of {}", output.display()), &error);
        }
    }
    Next::Done(end)
}

/// What is in an object or archive; `None` for anything else. With `keep` each is copied.
fn contents(recorder: &Recorder, path: &Path, keep: bool) -> Option<Contents> {
    if !fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return None;
    }
    match kind_of(path) {
        FileKind::Archive => {
            archive::members(
                path,
                |sha256, data| {
                    if keep { recorder.keep_input(sha256, data) } else { Ok(()) }
                },
            )
            .ok()
        }
        FileKind::Object if is_relocatable(path) => {
            let data = fs::read(path).ok()?;
            let sha256 = hash::sha256(&data);
            if keep {
                recorder.keep_input(&sha256, &data).ok()?;
            }
            Some(vec![(Vec::new(), sha256)])
        }
        _ => None,
    }
}

/// The run as it can be repeated on another object: lists of symbols are copied. `None` where nothing that is
/// linked changes.
fn pass(recorder: &Recorder, real: &Path, line: &CopyLine) -> std::result::Result<Option<Pass>, String> {
    let mut words: Vec<OsBytes> = Vec::new();
    for option in &line.options {
        let mut option = option.clone();
        if let (true, Some(list)) = (option.names_list(), &option.value) {
            let list = recorder.absolute(list);
            if !fs::metadata(&list).is_ok_and(|meta| meta.is_file()) {
                return Err(format!("{} is no file", list.display()));
            }
            let (_, kept) = recorder.keep_file(INPUTS, &list).map_err(|error| error.to_string())?;
            option.value = Some(OsBytes::from(kept).as_bytes().to_vec());
        }
        words.extend(option.words().into_iter().map(OsBytes::from));
    }
    let pass = Pass { tool: real.into(), options: words, cwd: recorder.cwd.as_path().into() };
    Ok((!pass.options.is_empty()).then_some(pass))
}

fn record(recorder: &mut Recorder, output: &Path, before: &Contents, pass: Option<&Pass>) -> Result<()> {
    let after = contents(recorder, output, pass.is_some()).unwrap_or_default();
    let same_names = after.len() == before.len() && after.iter().zip(before).all(|(a, b)| a.0 == b.0);
    if !same_names {
        return Ok(());
    }
    for ((_, was), (_, is)) in before.iter().zip(after).filter(|(was, is)| was.1 != is.1) {
        recorder.write_copy(&CopyRecord {
            version: RECORD_VERSION,
            id: files::unique(),
            input_sha256: was.clone(),
            stored: recorder.object_file(&is).into(),
            output_sha256: is,
            pass: pass.cloned(),
        })?;
    }
    Ok(())
}

//! The assembler was called: by hand, by make, or by a gcc that the build found by its full path or gave
//! several sources. In the latter cases the caller's command line, read from `/proc`, says how the unit was
//! made.

use std::fs::File;
use std::path::Path;

use crate::base::env;
use crate::base::error::Result;
use crate::base::files::Scratch;
use crate::command_line::assembler::{self, AsLine};
use crate::command_line::response;
use crate::inputs::assembled;
use crate::intercept::assemble::ltrans;
use crate::intercept::call::{self, Next};
use crate::intercept::compile::described::{assembled_from, describe};
use crate::intercept::parent::{Parent, parent_started, turn};
use crate::record::probe::is_probe;
use crate::record::recorder::Recorder;
use crate::record::session::Session;
use crate::record::unit::{UnitKind, UnitRecord};
use crate::sys::child::{self, End};
use crate::tools::names::Tool;
use records::OsBytes;

pub(crate) fn run(session: Session, real: &Path, argv: Vec<Vec<u8>>) -> Next {
    let Ok(cwd) = env::working_directory() else { return Next::Exec };
    let expanded = response::expand(&argv, &cwd);
    let Some(line) = assembler::parse(&expanded) else { return Next::Exec };
    if matches!(line.output.as_slice(), b"/dev/null" | b"-") || is_probe(&line.output, &cwd) {
        return Next::Exec;
    }
    let parent = Parent::read();
    if parent
        .as_ref()
        .is_some_and(|parent| parent.line.sources.iter().any(|source| is_probe(&source.name, &cwd)))
    {
        return Next::Exec;
    }
    let Ok(mut recorder) = Recorder::new(session, argv) else { return Next::Exec };
    let parent = parent.map(|mut parent| {
        // The compiler read its inputs before it called us.
        recorder.started = parent_started().unwrap_or(recorder.started);
        parent.turn = parent.takes_turns().then(|| turn(&recorder.session)).flatten();
        parent
    });
    let mut command = call::recorded_command(&recorder, real, Tool::Assembler);
    // Standard input is kept in a file, as it can be read only once: `gcc -pipe` sends the text that way.
    let mut held = None;
    if line.inputs.is_empty() || line.inputs == [b"/dev/stdin"] {
        let Some(scratch) = Scratch::new(&recorder.session.scratch_dir(), "stdin") else { return Next::Exec };
        match hold_stdin(scratch.path()) {
            Ok(file) => command.stdin(file),
            Err(_) => return Next::Exec,
        };
        held = Some(scratch);
    }
    let list = Scratch::new(&recorder.session.scratch_dir(), "as");
    if let Some(list) = list.as_ref().filter(|_| !expanded.iter().any(|word| word.starts_with(b"--MD"))) {
        command.arg("--MD").arg(list.path());
    }
    let Ok((end, _)) = child::run(&mut command, false) else { return Next::Exec };
    if end == End::Code(0) {
        let text = held.as_ref().map_or_else(
            || line.inputs.first().map(|name| recorder.absolute(name)).unwrap_or_default(),
            |scratch| scratch.path().to_path_buf(),
        );
        let read = list.and_then(|list| {
            let name = line.inputs.first().map(|name| OsBytes::from(name.as_slice()));
            assembled::read(list.path(), name.as_ref().map(OsBytes::as_path), b"")
        });
        let call =
            Call { real, expanded: &expanded, line: &line, text: &text, from_stdin: held.is_some(), read };
        if let Err(error) = record(&mut recorder, parent, &call) {
            let what = format!("unit {}", String::from_utf8_lossy(&line.output));
            recorder.problem(&what, &error.to_string());
        }
    }
    Next::Done(end)
}

/// A call of the assembler that went well.
struct Call<'a> {
    real: &'a Path,
    expanded: &'a [Vec<u8>],
    line: &'a AsLine,
    /// The text that was assembled, or its first part.
    text: &'a Path,
    from_stdin: bool,
    /// What the assembler says that it read besides.
    read: Option<Vec<Vec<u8>>>,
}

fn hold_stdin(path: &Path) -> std::io::Result<File> {
    // Nothing to read from a terminal or a closed descriptor means nothing to hold; the assembler then reads
    // the same nothing.
    let mut file = File::create(path)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
    drop(file);
    File::open(path)
}

fn record(recorder: &mut Recorder, parent: Option<Parent>, call: &Call<'_>) -> Result<()> {
    let mut unit = recorder.blank_unit(call.real);
    recorder.set_object(&mut unit, &call.line.output)?;
    match parent {
        Some(parent) => by_driver(recorder, &mut unit, &parent, call)?,
        None => by_hand(recorder, &mut unit, call)?,
    }
    recorder.write_unit(&unit)
}

/// Nobody but the build itself called the assembler.
fn by_hand(recorder: &mut Recorder, unit: &mut UnitRecord, call: &Call<'_>) -> Result<()> {
    unit.kind = UnitKind::Assemble;
    unit.language = "assembler".to_owned();
    unit.expanded_argv = call.expanded.iter().map(|word| word.as_slice().into()).collect();
    unit.source = call.line.inputs.first().map_or("-".into(), |name| name.as_slice().into());
    if call.from_stdin {
        unit.stdin = Some(recorder.keep_file("stdin", call.text)?.1.into());
    } else {
        call.line.inputs.iter().for_each(|name| recorder.add_input(unit, name));
    }
    if call.line.inputs.len() > 1 {
        unit.notes.push("assembled from several files".to_owned());
    }
    assembled_from(recorder, unit, call.read.as_deref());
    Ok(())
}

/// Fills in what the driver's command line says.
fn by_driver(recorder: &mut Recorder, unit: &mut UnitRecord, parent: &Parent, call: &Call<'_>) -> Result<()> {
    let text = call.text;
    unit.driver = parent.exe.as_path().into();
    unit.argv = parent.argv.iter().map(|word| word.as_slice().into()).collect();
    unit.expanded_argv = parent.expanded.iter().map(|word| word.as_slice().into()).collect();
    unit.lto = parent.line.lto || parent.links_lto;
    unit.notes.push("recorded by the assembler's call".to_owned());
    if parent.links_lto {
        return ltrans::describe(recorder, unit, parent, text);
    }
    let Some((source, sure)) = parent.source_of(text, &recorder.cwd) else {
        unit.source = text.into();
        unit.not_recompilable = Some("the compiler's command line does not tell its source".to_owned());
        recorder.problem(
            &format!("source of {}", unit.object.to_string_lossy()),
            "several sources could be meant",
        );
        return Ok(());
    };
    if !sure {
        unit.untracked =
            Some("which of its compiler's sources it was made from is told by their order".to_owned());
    }
    describe(recorder, unit, parent, source, call.read.as_deref());
    Ok(())
}

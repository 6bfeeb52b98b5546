//! A compiler driver was called.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Stdio;

use crate::base::env;
use crate::base::error::Result;
use crate::base::files::{self, Scratch};
use crate::base::streams::{self, DescriptorText, Input};
use crate::command_line::driver::CommandLine;
use crate::command_line::flags::Stage;
use crate::command_line::{prefix, response};
use crate::inputs::assembled;
use crate::intercept::call::{self, Next};
use crate::intercept::compile::compiler_run::CompilerRun;
use crate::intercept::compile::described;
use crate::intercept::compile::unit::{Listing, Unit};
use crate::intercept::parent::Parent;
use crate::record::probe::is_probe;
use crate::record::recorder::Recorder;
use crate::record::session::Session;
use crate::store::key::UnitKey;
use crate::store::results::{Store, StoredUnit};
use crate::sys::child::{self, End};
use crate::tools::names::Tool;

pub(crate) fn run(session: Session, family: Tool, real: &Path, argv: Vec<Vec<u8>>) -> Next {
    // Most calls of a configure script end here: nothing was read but the session file.
    let Ok(cwd) = env::working_directory() else { return Next::Exec };
    let expanded = response::expand(&argv, &cwd);
    let line = CommandLine::parse(real.as_os_str().as_encoded_bytes(), &expanded);
    if line.stage == Stage::Link
        && line.sources.is_empty()
        && !line.lto
        && let Some(linker) = prefix::linker(&expanded, &cwd)
    {
        return Next::ExecForLinker(linker);
    }
    if !wants_recording(&line, &cwd) {
        return Next::Exec;
    }
    let Ok(recorder) = Recorder::new(session, argv) else { return Next::Exec };
    match &line.sources[..] {
        [source] if line.stage == Stage::Object => {
            Unit { recorder, family, real, expanded: &expanded, line: &line, source }.compile()
        }
        _ => {
            // Each unit goes through `as`, which is ours too and records it. clang assembles by itself: a
            // linked unit is then recorded by the linker's wrapper, others here.
            if family == Tool::Clang && line.stage == Stage::Object {
                return several(recorder, family, real, expanded, line);
            }
            Next::Exec
        }
    }
}

/// One call of clang with several sources, each with an object of its own.
fn several(
    mut recorder: Recorder,
    family: Tool,
    real: &Path,
    expanded: Vec<Vec<u8>>,
    line: CommandLine,
) -> Next {
    let mut command = call::recorded_command(&recorder, real, family);
    command.env(env::ACTIVE, "1");
    let Ok((end, _)) = child::run(&mut command, false) else { return Next::Exec };
    if end != End::Code(0) {
        return Next::Done(end);
    }
    let argv = recorder.argv.clone();
    let driver = Parent { exe: real.to_path_buf(), argv, expanded, line, links_lto: false, turn: None };
    for source in &driver.line.sources {
        let mut unit = recorder.blank_unit(real);
        unit.lto = driver.line.lto;
        let recorded = recorder
            .set_object(&mut unit, &driver.line.object_of(source))
            .map(|_| described::describe(&mut recorder, &mut unit, &driver, source, None))
            .and_then(|()| recorder.write_unit(&unit));
        if let Err(error) = recorded {
            recorder.problem(&format!("unit {}", String::from_utf8_lossy(&source.name)), &error.to_string());
        }
    }
    Next::Done(end)
}

fn wants_recording(line: &CommandLine, cwd: &Path) -> bool {
    matches!(line.stage, Stage::Object | Stage::Link)
        && !line.sources.is_empty()
        && !matches!(line.output.as_deref(), Some(b"-" | b"/dev/null"))
        && !line
            .sources
            .iter()
            .any(|source| is_probe(&source.name, cwd) || source.language.ends_with("-header"))
        && !line.output.as_deref().is_some_and(|output| is_probe(output, cwd))
}

impl Unit<'_> {
    fn compile(mut self) -> Next {
        let input = Input::of(&self.source.name, &self.recorder.cwd);
        let key = matches!(input, Input::File).then(|| self.key()).flatten();
        if let Some((store, key)) = &key
            && let Some(stored) = store.find(key, &mut self.recorder.memo)
            && self.replay(&stored).is_ok()
        {
            return Next::Done(End::Code(0));
        }
        if matches!(input, Input::File) {
            self.recorder.before = self.recorder.dep(&self.source.name).ok();
        }
        let scratch = |stem| Scratch::new(&self.recorder.session.scratch_dir(), stem);
        let (headers, assembled) = (scratch("deps"), scratch("as"));
        let mut command = call::recorded_command(&self.recorder, self.real, self.family);
        command.env(env::ACTIVE, "1");
        if let Input::DescriptorText(DescriptorText { fd, text, used_up: true }) = &input {
            match streams::feed(text.clone()) {
                Ok(pipe) => child::give(&mut command, pipe.into(), *fd),
                Err(_) => drop(command.stdin(Stdio::null())),
            }
        }
        let listing = self.listing(headers.as_ref());
        match (listing, &headers) {
            (Listing::Sunpro, Some(list)) => drop(command.env("SUNPRO_DEPENDENCIES", list.path())),
            (Listing::Headers, Some(list)) => {
                command.env("CC_PRINT_HEADERS", "1").env("CC_PRINT_HEADERS_FILE", list.path());
            }
            _ => {}
        }
        if let Some(list) = &assembled {
            assembled::ask(&mut command, list.path());
        }
        let (end, stderr) = match child::run(&mut command, key.is_some()) {
            Ok(result) => result,
            Err(_) => return Next::Exec,
        };
        if end == End::Code(0) {
            let what = format!("unit {}", String::from_utf8_lossy(&self.source.name));
            let run = CompilerRun { input, listing, headers, assembled, stderr };
            if let Err(error) = self.record(key, run) {
                self.recorder.problem(&what, &error.to_string());
            }
        }
        Next::Done(end)
    }

    /// Whether the store may be used, and under which key.
    fn key(&self) -> Option<(Store, UnitKey)> {
        let known_language = matches!(
            self.source.language.as_str(),
            "c" | "c++"
                | "cpp-output"
                | "c++-cpp-output"
                | "assembler"
                | "assembler-with-cpp"
                | "objective-c"
        );
        // Kept messages are those of a file or pipe: on a terminal compilers write in colour. `upatch-build`
        // writes a log.
        if self.line.no_store.is_some()
            || !known_language
            || env::forbids_store(&self.recorder.session.bin_dir())
            || self.line.names_a_file(&self.recorder.cwd)
            || std::io::stderr().is_terminal()
            || env::DEPENDENCY_OUTPUT.iter().any(|name| std::env::var_os(name).is_some())
        {
            return None;
        }
        let store = Store::of(&self.recorder.session).ok()?;
        let key = UnitKey::new(&self.recorder, self.family, self.real, self.expanded)?;
        Some((store, key))
    }

    /// How the list of headers is to be had.
    fn listing(&self, scratch: Option<&Scratch>) -> Listing {
        let variables = env::DEPENDENCY_OUTPUT.iter().any(|name| std::env::var_os(name).is_some());
        let taken = variables || scratch.is_none();
        match (self.line.writes_deps, self.family) {
            (Some(true), _) => Listing::OwnFile,
            // gcc would ignore both ways below, and clang would write something else.
            (Some(false), _) => Listing::AskAgain,
            (None, _) if taken => Listing::AskAgain,
            (None, Tool::Clang) => Listing::Headers,
            (None, _) => Listing::Sunpro,
        }
    }

    fn replay(&mut self, stored: &StoredUnit) -> Result<()> {
        let object = self.line.object_of(self.source);
        files::write(&self.recorder.absolute(&object), &stored.object)?;
        if let (Some(text), Some(file)) = (&stored.dep_file, self.line.dep_file_of(self.source)) {
            files::write(&self.recorder.absolute(&file), text)?;
        }
        let _ = std::io::stderr().write_all(&stored.stderr);
        let mut unit = self.blank();
        unit.deps.clone_from(&stored.deps);
        unit.reused = true;
        let written =
            self.recorder.set_object(&mut unit, &object).and_then(|_| self.recorder.write_unit(&unit));
        if let Err(error) = written {
            self.recorder.problem(&format!("unit {}", unit.source.to_string_lossy()), &error.to_string());
        }
        Ok(())
    }
}

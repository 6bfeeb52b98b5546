//! A compiler driver was called.

use std::fs;
use std::io::{IsTerminal, PipeReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use crate::assemble::{self, Parent};
use crate::cmdline::{CommandLine, Source};
use crate::env;
use crate::error::Result;
use crate::files::{self, Scratch};
use crate::flags::Stage;
use crate::inputs;
use crate::names::Tool;
use crate::prefix;
use crate::record::{UnitKind, UnitRecord};
use crate::recorder::{Recorder, is_probe};
use crate::response;
use crate::session::Session;
use crate::store::{Product, Store, Ticket};
use crate::sys::child::{self, End};
use crate::tool::{self, Next};

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
            // Each unit goes through `as`, which is ours too and records it. clang assembles by itself: a linked
            // unit is then recorded by the linker's wrapper, others here.
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
    let mut command = tool::recorded_command(&recorder, real, family);
    command.env(env::ACTIVE, "1");
    let Ok((end, _)) = child::run(&mut command, false) else { return Next::Exec };
    if end != End::Code(0) {
        return Next::Done(end);
    }
    let argv = recorder.argv.clone();
    let driver = Parent { exe: real.to_path_buf(), argv, expanded, line, links_lto: false };
    for source in &driver.line.sources {
        let mut unit = recorder.blank_unit(real);
        unit.lto = driver.line.lto;
        let recorded = recorder
            .set_object(&mut unit, &driver.line.object_of(source))
            .and_then(|_| assemble::describe(&mut recorder, &mut unit, &driver, source))
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

/// One source, one object.
struct Unit<'a> {
    recorder: Recorder,
    family: Tool,
    real: &'a Path,
    expanded: &'a [Vec<u8>],
    line: &'a CommandLine,
    source: &'a Source,
}

impl Unit<'_> {
    fn compile(mut self) -> Next {
        let ticket = self.ticket();
        if let Some((store, ticket)) = &ticket
            && let Some(product) = store.find(ticket, &mut self.recorder.memo)
            && self.replay(&product).is_ok()
        {
            return Next::Done(End::Code(0));
        }
        let sunpro = Scratch::new(&self.recorder.session.scratch_dir(), "deps");
        let stdin = (self.source.name == b"-").then(read_stdin);
        let mut command = tool::recorded_command(&self.recorder, self.real, self.family);
        command.env(env::ACTIVE, "1");
        if let Some(text) = &stdin {
            // Through memory, not through the session's files: those may fail, the build may not.
            match feed(text.clone()) {
                Ok(pipe) => command.stdin(pipe),
                Err(_) => command.stdin(Stdio::null()),
            };
        }
        let listing = self.listing();
        match listing {
            Listing::Sunpro => {
                command.env("SUNPRO_DEPENDENCIES", sunpro.path());
            }
            Listing::Headers => {
                command.env("CC_PRINT_HEADERS", "1").env("CC_PRINT_HEADERS_FILE", sunpro.path());
            }
            Listing::OwnFile | Listing::AskAgain => {}
        }
        let capture = ticket.is_some();
        let (end, stderr) = match child::run(&mut command, capture) {
            Ok(result) => result,
            Err(_) => return Next::Exec,
        };
        if end == End::Code(0) {
            let what = format!("unit {}", String::from_utf8_lossy(&self.source.name));
            if let Err(error) = self.record(ticket, stdin, listing, sunpro.path(), stderr) {
                self.recorder.problem(&what, &error.to_string());
            }
        }
        Next::Done(end)
    }

    /// Whether the store may be used, and under which key.
    fn ticket(&self) -> Option<(Store, Ticket)> {
        let known_language = matches!(
            self.source.language.as_str(),
            "c" | "c++"
                | "cpp-output"
                | "c++-cpp-output"
                | "assembler"
                | "assembler-with-cpp"
                | "objective-c"
        );
        // Kept messages are those of a file or pipe: on a terminal compilers write in colour. `upatch-build` writes a log.
        if self.line.no_store.is_some()
            || !known_language
            || self.source.name == b"-"
            || std::io::stderr().is_terminal()
            || env::DEPENDENCY_OUTPUT.iter().any(|name| std::env::var_os(name).is_some())
        {
            return None;
        }
        let store = self.recorder.session.store().ok()?;
        let ticket = Ticket::new(&self.recorder, self.family, self.real, self.expanded)?;
        Some((store, ticket))
    }

    /// How the list of headers is to be had.
    fn listing(&self) -> Listing {
        let taken = env::DEPENDENCY_OUTPUT.iter().any(|name| std::env::var_os(name).is_some());
        match (self.line.writes_deps, self.family) {
            (Some(true), _) => Listing::OwnFile,
            // Both ways below would be ignored by gcc, or change what clang writes.
            (Some(false), _) => Listing::AskAgain,
            (None, _) if taken => Listing::AskAgain,
            (None, Tool::Clang) => Listing::Headers,
            (None, _) => Listing::Sunpro,
        }
    }

    fn blank(&self) -> UnitRecord {
        let mut unit = self.recorder.blank_unit(self.real);
        unit.expanded_argv = self.expanded.iter().map(|word| word.as_slice().into()).collect();
        unit.kind = kind_of(&self.source.language);
        unit.language.clone_from(&self.source.language);
        unit.source = self.source.name.as_slice().into();
        unit.lto = self.line.lto;
        unit
    }

    fn replay(&mut self, product: &Product) -> Result<()> {
        let object = self.line.object_of(self.source);
        files::write(&self.recorder.absolute(&object), &product.object)?;
        if let (Some(text), Some(file)) = (&product.dep_file, self.line.dep_file_of(self.source)) {
            files::write(&self.recorder.absolute(&file), text)?;
        }
        let _ = std::io::stderr().write_all(&product.stderr);
        let mut unit = self.blank();
        unit.deps.clone_from(&product.deps);
        unit.reused = true;
        let written =
            self.recorder.set_object(&mut unit, &object).and_then(|_| self.recorder.write_unit(&unit));
        if let Err(error) = written {
            self.recorder.problem(&format!("unit {}", unit.source.to_string_lossy()), &error.to_string());
        }
        Ok(())
    }

    fn record(
        &mut self,
        ticket: Option<(Store, Ticket)>,
        stdin: Option<Vec<u8>>,
        listing: Listing,
        listed: &Path,
        stderr: Vec<u8>,
    ) -> Result<()> {
        let mut unit = self.blank();
        let object = self.recorder.set_object(&mut unit, &self.line.object_of(self.source))?;
        let headers = self.headers(listing, listed);
        let complete = headers.is_ok();
        if let Err(why) = &headers {
            unit.notes.push(format!("headers are not known: {why}"));
        }
        let mut names: Vec<Vec<u8>> = Vec::new();
        if stdin.is_none() {
            names.push(self.source.name.clone());
        }
        names.extend(self.line.reads.iter().cloned());
        for header in headers.unwrap_or_default() {
            if !names.contains(&header) {
                names.push(header);
            }
        }
        for name in &names {
            unit.deps.push(self.recorder.dep(name)?);
        }
        if let Some(text) = stdin {
            let kept = self.recorder.session.dir().join("stdin").join(crate::hash::sha256(&text));
            files::write(&kept, &text)?;
            unit.stdin = Some(kept.into());
        }
        if let Some((store, ticket)) = ticket.filter(|_| complete) {
            let dep_file = match self.line.dep_file_of(self.source).map(|file| self.recorder.absolute(&file))
            {
                Some(path) if fs::metadata(&path).is_ok_and(|meta| meta.is_file()) => fs::read(&path).ok(),
                Some(_) => return self.recorder.write_unit(&unit),
                None => None,
            };
            let product = Product { object, dep_file, stderr, deps: unit.deps.clone() };
            match inputs::examine(&self.recorder, self.family, self.real, self.line, self.source, &unit.deps)
            {
                Ok(found) => {
                    unit.notes.extend(found.notes());
                    store.keep(&ticket, &product, &found);
                }
                Err(why) => unit.notes.push(format!("not kept in the store: {why}")),
            }
        } else if let Some(why) = &self.line.no_store {
            unit.notes.push(format!("not kept in the store: {why}"));
        }
        self.recorder.write_unit(&unit)
    }

    fn headers(&self, listing: Listing, listed: &Path) -> std::result::Result<Vec<Vec<u8>>, String> {
        if self.source.language == "assembler" || self.source.language.ends_with("cpp-output") {
            return Ok(Vec::new());
        }
        let path = match listing {
            Listing::Sunpro | Listing::Headers => Some(listed.to_path_buf()),
            Listing::OwnFile => self.line.dep_file_of(self.source).map(|file| self.recorder.absolute(&file)),
            Listing::AskAgain => None,
        };
        let regular = path.filter(|path| fs::metadata(path).is_ok_and(|meta| meta.is_file()));
        match regular.and_then(|path| fs::read(path).ok()) {
            Some(text) if listing == Listing::Headers => Ok(text
                .split(|byte| *byte == b'\n')
                .filter(|name| !name.is_empty())
                .map(<[u8]>::to_vec)
                .collect()),
            Some(text) => Ok(crate::depfile::prerequisites(&text)),
            // clang writes no file if there was no header at all.
            None if listing == Listing::Headers => Ok(Vec::new()),
            None => inputs::ask_compiler(self.real, self.line, self.source, &self.recorder),
        }
    }
}

/// All of standard input; what can be had of it, if it cannot be read to its end.
fn read_stdin() -> Vec<u8> {
    let mut text = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut text);
    text
}

/// A pipe that gives the text.
fn feed(text: Vec<u8>) -> std::io::Result<PipeReader> {
    let (reader, mut writer) = std::io::pipe()?;
    std::thread::spawn(move || writer.write_all(&text));
    Ok(reader)
}

pub(crate) fn kind_of(language: &str) -> UnitKind {
    if language.starts_with("assembler") { UnitKind::Assemble } else { UnitKind::Compile }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// gcc's variable: a make rule with all headers, no flag added.
    Sunpro,
    /// clang's variable: one header a line.
    Headers,
    /// The dependency file that the build itself asks for.
    OwnFile,
    /// A second run of the preprocessor.
    AskAgain,
}

//! The assembler was called: by hand, by make, or by a gcc that the build found by its full path or gave several sources.
//! In the latter cases the caller's command line, read from `/proc`, says how the unit was made.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::OsBytes;
use crate::cmdline::{CommandLine, Source};
use crate::compile;
use crate::env;
use crate::error::{IoContext, Result};
use crate::files::Scratch;
use crate::flags::Stage;
use crate::inputs;
use crate::ltrans;
use crate::names::{self, Tool};
use crate::record::{UnitKind, UnitRecord};
use crate::recorder::{Recorder, is_probe};
use crate::response;
use crate::session::Session;
use crate::sys::child::{self, End};
use crate::tool::{self, Next};

/// Flags of GNU as with an argument in the next word (as(1)).
const WITH_ARGUMENT: &[&str] = &[
    "-o",
    "-I",
    "--defsym",
    "--MD",
    "-G",
    "--debug-prefix-map",
    "--listing-lhs-width",
    "--listing-cont-lines",
];

/// Flags after which nothing is assembled.
const QUESTIONS: &[&str] = &["--version", "-version", "--help", "--target-help"];

struct AsLine {
    output: Vec<u8>,
    inputs: Vec<Vec<u8>>,
}

fn parse(words: &[Vec<u8>]) -> Option<AsLine> {
    let mut line = AsLine { output: b"a.out".to_vec(), inputs: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let is = |names: &[&str]| names.iter().any(|name| name.as_bytes() == word);
        if is(QUESTIONS) {
            return None;
        }
        if is(WITH_ARGUMENT) {
            let value = words.next()?;
            if word == b"-o" {
                line.output.clone_from(value);
            }
        } else if let Some(output) = word.strip_prefix(b"-o") {
            line.output = output.to_vec();
        } else if word.first() != Some(&b'-') {
            line.inputs.push(word.clone());
        }
    }
    Some(line)
}

/// The words of an assembler's command line without its output.
pub(crate) fn without_output(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-o" | b"--MD" => drop(words.next()),
            _ if word.starts_with(b"-o") => {}
            _ => kept.push(word.clone()),
        }
    }
    kept
}

pub(crate) fn run(session: Session, real: &Path, argv: Vec<Vec<u8>>) -> Next {
    let Ok(cwd) = env::working_directory() else { return Next::Exec };
    let expanded = response::expand(&argv, &cwd);
    let Some(line) = parse(&expanded) else { return Next::Exec };
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
    let mut command = tool::recorded_command(&recorder, real, Tool::Assembler);
    // Standard input is kept in a file, as it can be read only once: `gcc -pipe` sends the text that way.
    let mut held = None;
    if line.inputs.is_empty() {
        let scratch = Scratch::new(&recorder.session.scratch_dir(), "stdin");
        match hold_stdin(scratch.path()) {
            Ok(file) => command.stdin(file),
            Err(_) => return Next::Exec,
        };
        held = Some(scratch);
    }
    let Ok((end, _)) = child::run(&mut command, false) else { return Next::Exec };
    if end == End::Code(0) {
        let text = held.as_ref().map_or_else(
            || line.inputs.first().map(|name| recorder.absolute(name)).unwrap_or_default(),
            |scratch| scratch.path().to_path_buf(),
        );
        if let Err(error) = record(&mut recorder, real, &expanded, &line, parent, &text, held.is_some()) {
            let what = format!("unit {}", String::from_utf8_lossy(&line.output));
            recorder.problem(&what, &error.to_string());
        }
    }
    Next::Done(end)
}

fn hold_stdin(path: &Path) -> std::io::Result<File> {
    // Nothing to read from a terminal or a closed descriptor means nothing to hold; the assembler then reads the same nothing.
    let mut file = File::create(path)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
    drop(file);
    File::open(path)
}

fn record(
    recorder: &mut Recorder,
    real: &Path,
    expanded: &[Vec<u8>],
    line: &AsLine,
    parent: Option<Parent>,
    text: &Path,
    from_stdin: bool,
) -> Result<()> {
    let mut unit = recorder.blank_unit(real);
    recorder.set_object(&mut unit, &line.output)?;
    match parent {
        Some(parent) => by_driver(recorder, &mut unit, &parent, text)?,
        None => {
            unit.kind = UnitKind::Assemble;
            unit.language = "assembler".to_owned();
            unit.expanded_argv = expanded.iter().map(|word| word.as_slice().into()).collect();
            if from_stdin {
                unit.source = "-".into();
                unit.stdin = Some(recorder.keep_file("stdin", text)?.1.into());
            }
            for name in &line.inputs {
                let dep = recorder.dep(name)?;
                if unit.deps.is_empty() {
                    unit.source = name.as_slice().into();
                }
                unit.deps.push(dep);
            }
            if line.inputs.len() > 1 {
                unit.notes.push("assembled from several files".to_owned());
            }
            let words = fs::read(text).unwrap_or_default();
            if crate::scan::scan(&words).opaque.is_some() {
                unit.notes.push("headers are not known: the assembler reads more files".to_owned());
            }
        }
    }
    recorder.write_unit(&unit)
}

/// Fills in what the driver's command line says.
fn by_driver(recorder: &mut Recorder, unit: &mut UnitRecord, parent: &Parent, text: &Path) -> Result<()> {
    unit.driver = parent.exe.as_path().into();
    unit.argv = parent.argv.iter().map(|word| word.as_slice().into()).collect();
    unit.expanded_argv = parent.expanded.iter().map(|word| word.as_slice().into()).collect();
    unit.lto = parent.line.lto || parent.links_lto;
    unit.notes.push("recorded by the assembler's call".to_owned());
    if parent.links_lto {
        return ltrans::describe(recorder, unit, parent, text);
    }
    let Some(source) = parent.source_of(text) else {
        unit.source = text.into();
        unit.not_recompilable = Some("the compiler's command line does not tell its source".to_owned());
        recorder.problem(
            &format!("source of {}", unit.object.to_string_lossy()),
            "several sources could be meant",
        );
        return Ok(());
    };
    describe(recorder, unit, parent, source)
}

/// Fills in the source and its headers.
pub(crate) fn describe(
    recorder: &mut Recorder,
    unit: &mut UnitRecord,
    parent: &Parent,
    source: &Source,
) -> Result<()> {
    unit.driver = parent.exe.as_path().into();
    unit.argv = parent.argv.iter().map(|word| word.as_slice().into()).collect();
    unit.expanded_argv = parent.expanded.iter().map(|word| word.as_slice().into()).collect();
    unit.source = source.name.as_slice().into();
    unit.language.clone_from(&source.language);
    unit.kind = compile::kind_of(&source.language);
    if source.name == b"-" {
        unit.not_recompilable =
            Some("its source came on standard input of an unrecorded compiler".to_owned());
        return Ok(());
    }
    unit.deps.push(recorder.dep(&source.name)?);
    for name in &parent.line.reads {
        unit.deps.push(recorder.dep(name)?);
    }
    if source.language == "assembler" || source.language.ends_with("cpp-output") {
        return Ok(());
    }
    match inputs::ask_compiler(&parent.exe, &parent.line, source, recorder) {
        Ok(headers) => {
            for header in headers {
                let dep = recorder.dep(&header)?;
                if !unit.deps.contains(&dep) {
                    unit.deps.push(dep);
                }
            }
        }
        Err(why) => unit.notes.push(format!("headers are not known: {why}")),
    }
    Ok(())
}

/// The compiler driver that called us.
pub(crate) struct Parent {
    pub(crate) exe: PathBuf,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) expanded: Vec<Vec<u8>>,
    pub(crate) line: CommandLine,
    /// It is the driver of the link-time optimiser.
    pub(crate) links_lto: bool,
}

impl Parent {
    /// `None` if our parent is no compiler driver.
    pub(crate) fn read() -> Option<Self> {
        let proc = PathBuf::from(format!("/proc/{}", std::os::unix::process::parent_id()));
        let exe = fs::read_link(proc.join("exe")).ok()?;
        let tool = names::classify(exe.file_name()?.to_str()?);
        let clang = exe.file_name().is_some_and(|name| name.as_bytes().starts_with(b"clang"));
        if !matches!(tool, Some(Tool::Gcc | Tool::Clang)) && !clang {
            return None;
        }
        let mut text = Vec::new();
        File::open(proc.join("cmdline")).at("read", &proc).ok()?.read_to_end(&mut text).ok()?;
        text.pop();
        let mut words = text.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        // A driver that goes by its name may be a link to a program of another one.
        let called = words.next()?;
        let argv: Vec<Vec<u8>> = words.collect();
        let expanded = response::expand(&argv, &env::working_directory().ok()?);
        let line = CommandLine::parse(&called, &expanded);
        let links_lto =
            expanded.iter().any(|word| matches!(word.as_slice(), b"-fltrans" | b"-fwpa" | b"-xlto"))
                || line.sources.iter().any(|source| source.language == "lto");
        Some(Self { exe, argv, expanded, line, links_lto })
    }

    /// Which of the driver's sources an assembly text comes from: the compiler writes `.file "name"` at its top.
    fn source_of(&self, text: &Path) -> Option<&Source> {
        if let [only] = &self.line.sources[..] {
            return Some(only);
        }
        // An assembly source is handed to the assembler as it is.
        if let Some(itself) =
            self.line.sources.iter().find(|source| Path::new(&OsBytes::from(source.name.as_slice())) == text)
        {
            return Some(itself);
        }
        let text = fs::read(text).ok()?;
        let at = memchr::memmem::find(&text, b"\t.file\t\"")? + b"\t.file\t\"".len();
        let name = &text[at..at + text[at..].iter().position(|byte| *byte == b'"')?];
        let base = |name: &[u8]| name.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let mut fitting = self.line.sources.iter().filter(|source| source.name == name);
        let mut by_base = self.line.sources.iter().filter(|source| base(&source.name) == base(name));
        fitting.next().or_else(|| by_base.next().filter(|_| by_base.next().is_none()))
    }

    /// Whether it compiles and links in one go.
    pub(crate) fn links(&self) -> bool {
        self.line.stage == Stage::Link
    }
}

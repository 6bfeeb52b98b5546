//! The assembler was called: by hand, by make, or by a gcc that the build found by its full path or gave several sources.
//! In the latter cases the caller's command line, read from `/proc`, says how the unit was made.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::OsBytes;
use crate::asdeps;
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
use crate::streams;
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
    let parent = parent.map(|mut parent| {
        // The compiler read its inputs before it called us.
        recorder.started = parent_started().unwrap_or(recorder.started);
        parent.turn = parent.takes_turns().then(|| turn(&recorder.session)).flatten();
        parent
    });
    let mut command = tool::recorded_command(&recorder, real, Tool::Assembler);
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
            asdeps::read(list.path(), name.as_ref().map(OsBytes::as_path), b"")
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
    /// What was assembled, or the first part of it.
    text: &'a Path,
    from_stdin: bool,
    /// What the assembler says that it read besides.
    read: Option<Vec<Vec<u8>>>,
}

/// How many texts the driver that called us has had assembled before this one.
fn turn(session: &Session) -> Option<usize> {
    let parent = std::os::unix::process::parent_id();
    // Process numbers come again; the start time does not.
    let started = start_ticks(parent)?;
    (0..TURNS).find(|number| {
        let marker = session.scratch_dir().join(format!("turn-{parent}-{started}-{number}"));
        fs::OpenOptions::new().write(true).create_new(true).open(marker).is_ok()
    })
}

/// When a process started, in ticks since the boot: the twentieth field after the name in its `stat` (proc(5)).
fn start_ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// When the driver that called us started, rather too early than too late. A tick is a hundredth of a second on x86-64.
pub(crate) fn parent_started() -> Option<SystemTime> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let ticks = start_ticks(std::os::unix::process::parent_id())?;
    let started = Duration::from_millis(ticks.saturating_mul(10).saturating_sub(20));
    let age = Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(started);
    SystemTime::now().checked_sub(age)
}

/// More sources than this are not told apart by their turn.
const TURNS: usize = 1000;

fn hold_stdin(path: &Path) -> std::io::Result<File> {
    // Nothing to read from a terminal or a closed descriptor means nothing to hold; the assembler then reads the same nothing.
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

/// Adds what the assembler read besides its text, if it told, and what may be missing all the same.
fn assembled_from(recorder: &mut Recorder, unit: &mut UnitRecord, read: Option<&[Vec<u8>]>) {
    let own = unit.source.clone();
    for name in read.into_iter().flatten().filter(|name| base(name) != base(own.as_bytes())) {
        if recorder.absolute(name).exists() {
            recorder.add_input(unit, name);
        }
    }
    if unit.untracked.is_none() {
        unit.untracked = inputs::untracked(recorder, &unit.deps, read.is_some());
    }
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

/// Fills in the source and all else that the unit is made from; `read` is what the assembler says that it read.
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
    unit.kind = compile::kind_of(&source.language);
    if streams::descriptor(&source.name).is_some() || streams::is_stream(&recorder.absolute(&source.name)) {
        unit.not_recompilable = Some(streams::why(&source.name));
        return;
    }
    recorder.add_input(unit, &source.name);
    parent.line.reads.iter().for_each(|name| recorder.add_input(unit, name));
    if source.language != "assembler" && !source.language.ends_with("cpp-output") {
        match inputs::ask_compiler(&parent.exe, &parent.line, source, recorder) {
            Ok(headers) => headers.iter().for_each(|name| recorder.add_input(unit, name)),
            Err(why) => {
                unit.notes.push(format!("headers are not known: {why}"));
                unit.untracked = Some(format!("headers are not known: {why}"));
            }
        }
        for header in inputs::precompiled(recorder, &parent.exe, &parent.line, source).unwrap_or_default() {
            recorder.add_input(unit, header.as_os_str().as_encoded_bytes());
        }
    }
    assembled_from(recorder, unit, read);
}

/// A file's name without its folder.
fn base(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// The compiler driver that called us.
pub(crate) struct Parent {
    pub(crate) exe: PathBuf,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) expanded: Vec<Vec<u8>>,
    pub(crate) line: CommandLine,
    /// It is the driver of the link-time optimiser.
    pub(crate) links_lto: bool,
    /// How many of its sources were assembled before, where that tells which one this is.
    pub(crate) turn: Option<usize>,
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
        Some(Self { exe, argv, expanded, line, links_lto, turn: None })
    }

    /// Which of the driver's sources an assembly text comes from, and whether that is sure.
    fn source_of(&self, text: &Path, cwd: &Path) -> Option<(&Source, bool)> {
        if let [only] = &self.line.sources[..] {
            return Some((only, true));
        }
        // An assembly source is handed to the assembler as it is.
        let is_text = |source: &&Source| cwd.join(OsBytes::from(source.name.as_slice()).as_path()) == text;
        if let Some(itself) = self.line.sources.iter().find(is_text) {
            return Some((itself, true));
        }
        let text = fs::read(text).ok()?;
        // The compiler writes `.file "name"` at its top, without a folder.
        let name = memchr::memmem::find(&text, b"\t.file\t\"").map(|at| &text[at + b"\t.file\t\"".len()..]);
        let name = name.and_then(|rest| rest.split(|byte| *byte == b'"').next()).unwrap_or_default();
        let mut namesakes = self.line.sources.iter().filter(|source| base(&source.name) == base(name));
        if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
            return Some((only, true));
        }
        // They take turns in the order of the command line.
        Some((self.line.sources.get(self.turn?)?, false))
    }

    /// Are there several sources, which a driver compiles and has assembled one after the other?
    fn takes_turns(&self) -> bool {
        self.line.sources.len() > 1 && !self.links_lto
    }

    /// Whether it compiles and links in one go.
    pub(crate) fn links(&self) -> bool {
        self.line.stage == Stage::Link
    }
}

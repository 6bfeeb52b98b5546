//! The compiler driver that called us, as `/proc` tells.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::base::env;
use crate::base::error::IoContext;
use crate::base::paths::base_name;
use crate::command_line::driver::{CommandLine, Source};
use crate::command_line::flags::Stage;
use crate::command_line::response;
use crate::record::session::Session;
use crate::tools::names::{self, Tool};
use records::OsBytes;

/// The compiler driver that called us.
pub(crate) struct Parent {
    pub(crate) exe: PathBuf,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) expanded: Vec<Vec<u8>>,
    pub(crate) line: CommandLine,
    /// It is the driver of the link-time optimiser.
    pub(crate) links_lto: bool,
    /// Number of its sources that were assembled before this one, where it can be known.
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
    pub(crate) fn source_of(&self, text: &Path, cwd: &Path) -> Option<(&Source, bool)> {
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
        let mut namesakes =
            self.line.sources.iter().filter(|source| base_name(&source.name) == base_name(name));
        if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
            return Some((only, true));
        }
        // The driver compiles its sources in the order of the command line.
        Some((self.line.sources.get(self.turn?)?, false))
    }

    /// Are there several sources, which a driver compiles and has assembled one after the other?
    pub(crate) fn takes_turns(&self) -> bool {
        self.line.sources.len() > 1 && !self.links_lto
    }

    /// Whether it compiles and links in one go.
    pub(crate) fn links(&self) -> bool {
        self.line.stage == Stage::Link
    }
}

/// Number of texts that the calling driver had assembled before this one.
pub(crate) fn turn(session: &Session) -> Option<usize> {
    let parent = std::os::unix::process::parent_id();
    // Process numbers come again; the start time does not.
    let started = start_ticks(parent)?;
    (0..TURNS).find(|number| {
        let marker = session.scratch_dir().join(format!("turn-{parent}-{started}-{number}"));
        fs::OpenOptions::new().write(true).create_new(true).open(marker).is_ok()
    })
}

/// When a process started, in ticks since the boot: the twentieth field after the name in its `stat`
/// (proc(5)).
fn start_ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// When the driver that called us started, rather too early than too late. A tick is a hundredth of a second
/// on x86-64.
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

//! What a user is told of an error.

use patchfile::exit::BuildExit;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;

/// Lines of a build's log that are shown.
const LAST_LINES: usize = 40;

/// One line that says what and why, hints, and the exit code of the contract.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// Exit code.
    pub exit: BuildExit,
    /// What could not be done.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What the error is made of, a paragraph of several lines each.
    pub blocks: Vec<String>,
    /// What to do about it, one line each.
    pub hints: Vec<String>,
    /// Log of the build that failed; its last lines are shown.
    pub log: Option<PathBuf>,
    /// The signal that ended the run: the process ends by the same signal after cleaning up.
    pub signal: Option<i32>,
    /// The error and what caused it, outermost first, each in its own words.
    pub causes: Vec<String>,
}

/// An error that has words for the user.
pub(crate) trait Worded {
    /// Says what, why and what to do. [`Words::causes`] is left empty, see [`super::Failure::words`].
    fn words(&self) -> Words;
}

impl Words {
    /// An error with `exit`.
    pub(super) fn new(exit: BuildExit, what: impl Into<String>, why: impl fmt::Display) -> Self {
        let (what, why) = (what.into(), why.to_string());
        let blocks = Vec::new();
        Self { exit, what, why, blocks, hints: Vec::new(), log: None, signal: None, causes: Vec::new() }
    }

    /// An error with no exit code of its own (1).
    pub(super) fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(BuildExit::Failed, what, why)
    }

    /// Wrong usage (2).
    pub(super) fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(BuildExit::Usage, what, why)
    }

    /// Adds a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a log file.
    #[must_use]
    pub(super) fn log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Prints the end of the build's log, the error line, the causes if they are asked for, then the hints.
    /// `shown` gives the name that the user knows the log by.
    pub(crate) fn print(&self, color: bool, causes: bool, shown: impl Fn(PathBuf) -> PathBuf) {
        let mut out = String::new();
        if let Some(log) = &self.log {
            let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                out.push_str(&format!("  | {line}\n"));
            }
        }
        let word = if color { "\x1b[31;1merror:\x1b[0m" } else { "error:" };
        out.push_str(&format!("{word} {self}\n"));
        for block in &self.blocks {
            out.push_str(&format!("\n{}\n", indented(block, color)));
        }
        if !self.blocks.is_empty() {
            out.push('\n');
        }
        for cause in self.causes.iter().filter(|_| causes) {
            out.push_str(&format!("cause: {}\n", one_line(cause)));
        }
        if let Some(log) = &self.log {
            out.push_str(&format!("log: {}\n", shown(log.clone()).display()));
        }
        for hint in &self.hints {
            out.push_str(&format!("hint: {hint}\n"));
        }
        let _ = std::io::stderr().write_all(out.as_bytes());
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", one_line(&self.what), one_line(&self.why))
    }
}

/// A paragraph below the line that it belongs to. Its first line is its title.
fn indented(block: &str, color: bool) -> String {
    let lines = block.lines().enumerate().map(|(number, line)| match (number, color) {
        (0, true) => format!("  \x1b[1m{line}\x1b[0m"),
        (0, false) => format!("  {line}"),
        _ => format!("    {line}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Makes one line of any text: programs read the messages line by line.
fn one_line(text: &str) -> String {
    text.trim().replace('\n', "; ")
}

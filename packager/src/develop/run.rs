//! `--apply` and `--watch`. Each patch is made by a process of its own, which may see other folders than this
//! one ([`crate::view`]); processes are patched from here, where they are to be seen as they are.

use super::apply::apply;
use super::tree::State;
use crate::cli::Args;
use crate::error::{Context, DevelopError, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use patchfile::exit::BuildExit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How often the tree is looked at, and for how long it must have been quiet.
const LOOK: Duration = Duration::from_millis(400);

/// Makes the patch with the arguments `words` (without the name of the program), applies it, and does so
/// again each time that the tree changes, if that is wanted.
pub(crate) fn run(args: &Args, words: &[OsString]) -> ExitCode {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP] {
        let value = usize::try_from(number).unwrap_or_default();
        let _ = signal_hook::flag::register_usize(number, Arc::clone(&signal), value);
    }
    let ended = rounds(args, &without_ours(words), &signal);
    match (signal.load(Ordering::Relaxed), ended) {
        (0, Ok(code)) => code,
        (0, Err(failure)) => {
            let words = failure.words();
            words.print(false, args.verbose > 0, |log| log);
            words.exit.into()
        }
        (number, _) => {
            let _ = signal_hook::low_level::emulate_default_handler(i32::try_from(number).unwrap_or(SIGTERM));
            BuildExit::Failed.into()
        }
    }
}

fn rounds(args: &Args, words: &[OsString], signal: &AtomicUsize) -> Result<ExitCode> {
    let Some(tree) = &args.source else { return Err(DevelopError::NeedsSource.into()) };
    let fix: Vec<PathBuf> = args.patch.clone();
    loop {
        let before = State::of(tree, &fix);
        let status = make(words, signal)?;
        let applied = if status.success() { apply(&args.output, &args.apply) } else { Ok(()) };
        if !args.watch {
            applied?;
            // A signal of the build has its own exit code too.
            return Ok(status
                .code()
                .and_then(|c| u8::try_from(c).ok())
                .map_or(BuildExit::Failed.into(), ExitCode::from));
        }
        if let Err(failure) = applied {
            failure.words().print(false, args.verbose > 0, |log| log);
        }
        if signal.load(Ordering::Relaxed) != 0 {
            return Ok(BuildExit::Failed.into());
        }
        say(args, &format!("watching {}", tree.display()));
        match wait(tree, &fix, &before, signal) {
            Some(changed) => say(args, &format!("changed: {}", names(tree, &changed))),
            None => return Ok(BuildExit::Failed.into()),
        }
    }
}

/// Runs this program once more, without what is done here.
fn make(words: &[OsString], signal: &AtomicUsize) -> Result<ExitStatus> {
    let own = std::env::current_exe().what("own executable")?;
    let mut child = Command::new(&own).args(words).spawn().at(&own)?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait().at(&own)? {
            return Ok(status);
        }
        let number = signal.load(Ordering::Relaxed);
        // A terminal tells both of us; whoever ends this process by its id does not.
        if number != 0 && !told {
            let number = i32::try_from(number).ok().and_then(|n| Signal::try_from(n).ok());
            let pid = i32::try_from(child.id()).ok().map(Pid::from_raw);
            told = pid.is_some_and(|pid| kill(pid, number).is_ok());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the tree is another one than `before`, and quiet; `None` if a signal came.
fn wait(tree: &Path, fix: &[PathBuf], before: &State, signal: &AtomicUsize) -> Option<Vec<PathBuf>> {
    let mut last = before.clone();
    while signal.load(Ordering::Relaxed) == 0 {
        let now = State::of(tree, fix);
        let changed = now.changed_since(before);
        if !changed.is_empty() && now == last {
            return Some(changed);
        }
        last = now;
        std::thread::sleep(LOOK);
    }
    None
}

fn names(tree: &Path, changed: &[PathBuf]) -> String {
    let shown = changed.iter().take(3).map(|p| p.strip_prefix(tree).unwrap_or(p).display().to_string());
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if changed.len() > 3 {
        text.push_str(&format!(" and {} more", changed.len() - 3));
    }
    text
}

fn say(args: &Args, text: &str) {
    if !args.quiet {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// The arguments without `--apply PID` and `--watch`.
fn without_ours(words: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--apply" {
            words.next();
        } else if word != "--watch" && !word.as_encoded_bytes().starts_with(b"--apply=") {
            kept.push(word.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_here_is_not_done_twice() {
        let words = ["--source", ".", "--apply", "7", "--watch", "--apply=8", "-v"].map(OsString::from);
        assert_eq!(without_ours(&words), ["--source", ".", "-v"]);
    }
}

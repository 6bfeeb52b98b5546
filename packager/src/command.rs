//! `upatch-build`: the command.

use crate::cli::{Args, KernelRequest, Request, command, manual, split};
use crate::develop;
use crate::error::{Failure, Words};
use crate::kernel;
use crate::output::{Report, Warned, explained};
use crate::pipeline;
use crate::prep::{HOOK_COMMAND, run_hook};
use crate::process::{catch_signals, is_first_to_end};
use crate::progress::{Progress, Step};
use crate::target::Fidelity;
use crate::view::{View, outside_name};
use patchfile::exit::BuildExit;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// The whole program.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = hidden(&args) {
        return code;
    }
    let words: Vec<OsString> = args.iter().skip(1).cloned().collect();
    let (ours, rpmbuild) = split(args);
    let mut args = match Args::read(ours) {
        Ok(args) => args,
        Err(e) => {
            // Help and version are no errors.
            let code = if e.use_stderr() { BuildExit::Usage } else { BuildExit::Done };
            let _ = e.print();
            return code.into();
        }
    };
    if args.watch || !args.apply.is_empty() {
        return develop::run(&args, &words);
    }
    let shown = args.output.clone();
    // Before there is any other thread.
    let view = View::enter(&mut args);
    let color = args.color.decide(std::io::stderr().is_terminal());
    let logs = log(args.verbose, color);
    let causes = args.verbose > 0;
    let explain = args.explain;
    // A bar would be torn by the log.
    let bar = !logs && args.progress.decide(Progress::on_terminal());
    let of_kernel = args.kernel.is_some();
    let steps = if of_kernel { Step::OF_KERNEL } else { Step::OF_PROGRAMS };
    let mut progress = Progress::new(bar, args.quiet, args.verbose, color, steps);
    let output = args.output.clone();
    let mut report = Report { version: env!("CARGO_PKG_VERSION"), ..Report::default() };
    let to = output.clone();
    let caught = || catch_signals(move |failure| last_words(&failure.words(), &to, color));
    let result = match of_kernel {
        true => KernelRequest::new(args, rpmbuild).and_then(|request| {
            caught()?;
            kernel::run(&request, &mut progress, &mut report)
        }),
        false => Request::new(args, rpmbuild).and_then(|request| {
            caught()?;
            pipeline::run(&request, &view, &mut progress, &mut report)
        }),
    };
    while !is_first_to_end() {
        // A signal ends us right now.
        std::thread::park();
    }
    let error = tell_of_path(&view, &mut report, &progress, result.err());
    progress.finish();
    report.seconds = progress.seconds();
    report.cpu = progress.cpu();
    let times: Vec<String> = report.seconds.iter().map(|(step, s)| format!("{step} {s:.1} s")).collect();
    progress.verbose(&format!("times: {}", times.join(", ")));
    report.end(error.as_ref());
    if let Some(error) = &mut report.error {
        error.log = error.log.take().map(outside_name);
    }
    let written = report.write(&output);
    if explain {
        let _ = std::io::stderr().write_all(explained(&report).as_bytes());
    }
    let Some(error) = error.or_else(|| Some(written.err()?.words())) else {
        for file in &report.files {
            progress.info(&format!("written: {}", shown.join(file).display()));
        }
        return BuildExit::Done.into();
    };
    error.print(color, causes, outside_name);
    if let Some(signal) = error.signal {
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
    error.exit.into()
}

/// Begins to log to standard error: up to the level that `UPATCH_LOG` names, else, with `-vv`, every program
/// that is run. Tells whether anything is logged.
fn log(verbose: u8, color: bool) -> bool {
    let named = std::env::var("UPATCH_LOG").ok().filter(|level| !level.is_empty());
    let of_count = if verbose > 1 { LevelFilter::DEBUG } else { LevelFilter::OFF };
    let Ok(most) = named.map_or(Ok(of_count), |level| level.parse::<LevelFilter>()) else {
        let _ = writeln!(std::io::stderr(), "warning: UPATCH_LOG: wants error, warn, info, debug or trace");
        return false;
    };
    let format = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(color).with_target(false);
    // A program that runs us in one process with a log of its own keeps that log.
    let _ = format.with_max_level(most).without_time().try_init();
    most != LevelFilter::OFF
}

/// Says that the builds were not where the target's was, unless they came out the same.
fn tell_of_path(
    view: &View,
    report: &mut Report,
    progress: &Progress,
    failure: Option<Failure>,
) -> Option<Words> {
    let error = failure.map(|failure| failure.words());
    let Some(why) = view.refused().filter(|_| report.fidelity != Some(Fidelity::Identical)) else {
        return error;
    };
    let warned =
        Warned { what: "not built where the target was".into(), place: "--target".into(), why: why.clone() };
    report.warnings.push(warned);
    if error.is_none() {
        progress.warning(&why);
    }
    error.map(|words| words.hint(why))
}

/// What is left to say where a signal ends us in the middle of something.
fn last_words(error: &Words, output: &Path, color: bool) {
    let mut report = Report { version: env!("CARGO_PKG_VERSION"), ..Report::default() };
    report.end(Some(error));
    let _ = report.write(output);
    error.print(color, false, outside_name);
}

/// Subcommands that no user types: rpmbuild's hook, man page and completions.
fn hidden(args: &[OsString]) -> Option<ExitCode> {
    let name = args.get(1)?.to_str()?;
    match name {
        HOOK_COMMAND => Some(hook(&args[2..])),
        "man" => Some(print(manual())),
        "completions" => {
            let shell: clap_complete::Shell = args.get(2)?.to_str()?.parse().ok()?;
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut command(), "upatch-build", &mut text);
            Some(print(Ok(text)))
        }
        _ => None,
    }
}

fn print(text: std::io::Result<Vec<u8>>) -> ExitCode {
    match text.and_then(|t| std::io::stdout().write_all(&t)) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => BuildExit::Failed.into(),
        _ => BuildExit::Done.into(),
    }
}

fn hook(args: &[OsString]) -> ExitCode {
    let [order, top, sub] = args else { return BuildExit::Usage.into() };
    let sub = (!sub.is_empty()).then(|| PathBuf::from(sub));
    match run_hook(Path::new(order), Path::new(top), sub.as_deref()) {
        Ok(()) => BuildExit::Done.into(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            failure.words().exit.into()
        }
    }
}

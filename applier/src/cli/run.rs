//! From the command line to the exit code.

use super::{
    args::{Args, Verb},
    generate, logging, order, verbs,
};
use crate::{
    catalog::Owner,
    manage::{Context, Error, NeverStop, ProcessBackend, Settings, Signals, StopRequest},
};
use clap::Parser;
use patchfile::exit::ManageExit;
use std::{
    fs,
    io::{self, Write},
    time::Duration,
};

/// What `upatch daemon` does, given the time between two looks at all processes.
pub(crate) type Serve = fn(&mut Context<'_>, Duration) -> Result<ManageExit, Error>;

/// Runs `upatch` with the arguments of this process.
pub(crate) fn main(serve: Serve) -> ManageExit {
    let args = match Args::try_parse_from(order::verb_first(std::env::args_os())) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are not errors; where the stream is gone there is nothing left to say.
            error.print().ok();
            return if error.use_stderr() { ManageExit::Usage } else { ManageExit::Done };
        }
    };
    logging::begin(args.verbose);
    let (stdout, stderr) = (io::stdout(), io::stderr());
    // Not locked for good: a thread that panics while it holds a process has to get its message out.
    let (mut out, mut err) = (io::BufWriter::new(stdout), stderr);
    // What touches no process may be ended at any point, as any other program.
    let stop: Box<dyn StopRequest> = if args.verb.touches_processes() {
        match Signals::block() {
            Ok(signals) => Box::new(signals),
            Err(error) => {
                writeln!(err, "error: signals: {error}").ok();
                return ManageExit::Failed;
            }
        }
    } else {
        Box::new(NeverStop)
    };
    // Only compared with what was written in this boot; unknown (no /proc) is a boot of its own.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let owner = Owner::current();
    let settings = match Settings::read(&args.root, owner) {
        Ok(settings) => settings,
        Err(error) => {
            writeln!(err, "{error}").ok();
            return error.exit;
        }
    };
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    let mut ctx = Context {
        root: args.root.clone(),
        backend: &ProcessBackend,
        stop: &*stop,
        owner,
        boot,
        settings,
        terminal,
        out: &mut out,
        err: &mut err,
    };
    let exit = run(&args, &mut ctx, serve);
    match out.flush() {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            writeln!(err, "error: standard output: {e}").ok();
            ManageExit::Failed
        }
        _ => exit,
    }
}

/// Runs one command line.
pub(crate) fn run(args: &Args, ctx: &mut Context<'_>, serve: Serve) -> ManageExit {
    match verb(&args.verb, ctx, serve) {
        Ok(exit) => exit,
        Err(error) => {
            // There is nowhere to report that standard error is gone.
            writeln!(ctx.err, "{error}").ok();
            error.exit
        }
    }
}

fn verb(verb: &Verb, ctx: &mut Context<'_>, serve: Serve) -> Result<ManageExit, Error> {
    match verb {
        Verb::List(args) => verbs::list(ctx, args),
        Verb::Status(args) => verbs::status(ctx, args),
        Verb::Info(args) => verbs::info(ctx, args),
        Verb::Target(args) => verbs::target(ctx, args),
        Verb::Check(args) => verbs::check(ctx, args),
        Verb::Apply(args) if args.json => verbs::apply_json(ctx, args),
        Verb::Apply(args) => verbs::apply(ctx, "apply", &args.change, args.replace),
        Verb::Active(args) => verbs::apply(ctx, "active", args, false),
        Verb::Deactive(args) => verbs::deactivate(ctx, args),
        Verb::Accept(args) => verbs::accept(ctx, args),
        Verb::Remove(args) => verbs::remove(ctx, args),
        Verb::Save(args) => verbs::save(ctx, args),
        Verb::Restore(args) => verbs::restore(ctx, args),
        Verb::Rescan(args) => verbs::rescan(ctx, args),
        Verb::Daemon(args) => {
            let interval = ctx.settings.interval(args.interval);
            serve(ctx, interval)
        }
        Verb::Log(args) => verbs::log(ctx, args),
        Verb::History(args) => verbs::history(ctx, args),
        Verb::NeedsRestart(args) => verbs::needs_restart(ctx, args),
        Verb::Doctor(args) => verbs::doctor(ctx, args),
        Verb::Prune(args) => verbs::prune(ctx, args),
        Verb::Gdb(args) => verbs::gdb(ctx, args),
        Verb::Complete { what } => verbs::complete(ctx, *what),
        Verb::Completions { shell } => generate::completions(ctx, *shell),
        Verb::Man => generate::man(ctx),
    }
}

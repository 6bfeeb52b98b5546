//! What the `upatch-cc` binary does: find the session and the real tool, record if there is something to
//! record, and be invisible otherwise.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use crate::base::env;
use crate::inputs::assembled;
use crate::intercept::call::{Next, real_command};
use crate::intercept::compile::{self, clang_log};
use crate::intercept::{assemble, copy, environment, late_fix, link};
use crate::record::session::Session;
use crate::sys::child;
use crate::tools::names::{self, Tool};
use crate::tools::resolve;

/// The whole program. Never returns.
pub fn main() -> ! {
    let mut words = std::env::args_os();
    let own_name = words.next().unwrap_or_default();
    let mut args: Vec<OsString> = words.collect();
    let name = Path::new(&own_name).file_name().unwrap_or(&own_name).to_owned();
    if name == "upatch-cc" {
        about(&args);
    }
    let session = find_session();
    let bin = session.as_ref().map(Session::bin_dir);
    let text = name.to_str().unwrap_or_default();
    let tool = names::classify(text);
    let named = std::env::var_os(env::LINKER).filter(|_| tool == Some(Tool::Linker)).map(PathBuf::from);
    let real = named
        .or_else(|| resolve::next_on_path(&name, bin.as_deref()))
        .or_else(|| session.as_ref().and_then(|session| session.tool(text)).map(Path::to_path_buf));
    let Some(real) = real else {
        complain(&format!(
            "upatch-cc: {}: no such program on PATH behind the recorder",
            name.to_string_lossy()
        ));
        std::process::exit(127);
    };
    let active = std::env::var_os(env::ACTIVE).is_some();
    let mut command = real_command(&real, tool, &own_name, bin.as_deref());
    if let (Some(session), Some(Tool::Environment)) = (&session, tool) {
        // The caller says what is found by `PATH`.
        let names = session.env().into_iter().map(|(name, _)| name).filter(|name| name != "PATH");
        let variables: Vec<_> =
            names.filter_map(|name| Some((name.clone(), std::env::var_os(name)?))).collect();
        args = environment::words(&args, &variables);
    }
    if let (Some(session), Some(tool), false) = (session, tool, active) {
        match record(session, tool, &real, &args) {
            Next::Done(end) => child::finish(end),
            Next::ExecForLinker(linker) => {
                command
                    .env(env::LINKER, linker)
                    .args(bin.map(|bin| [OsString::from("-B"), bin.into()]).into_iter().flatten());
            }
            Next::Exec => {}
        }
    }
    if active && tool == Some(Tool::Assembler) {
        command.args(assembled::words(&args));
    }
    let error = command.args(&args).exec();
    complain(&format!("upatch-cc: {}: cannot run: {error}", real.display()));
    std::process::exit(126);
}

fn record(session: Session, tool: Tool, real: &Path, args: &[OsString]) -> Next {
    if matches!(tool, Tool::Gcc | Tool::Clang | Tool::Assembler) {
        late_fix::apply(&session);
    }
    let argv: Vec<Vec<u8>> = args.iter().map(|word| word.clone().into_vec()).collect();
    match tool {
        Tool::Environment => Next::Exec,
        Tool::Archiver => {
            let _ = clang_log::adopt(&session);
            Next::Exec
        }
        Tool::Gcc | Tool::Clang => compile::run(session, resolve::driver_family(real), real, argv),
        Tool::Assembler => assemble::run(session, real, argv),
        Tool::Linker => link::run(session, real, argv),
        Tool::Copier | Tool::Strip => copy::run(session, tool, real, argv),
    }
}

/// The session is where our own file lies (the links are hard links, so `/proc/self/exe` names the one that
/// was called); the variable is only for a wrapper that is run from elsewhere.
fn find_session() -> Option<Session> {
    let by_place =
        std::fs::read_link("/proc/self/exe").ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    by_place
        .into_iter()
        .chain(std::env::var_os(env::SESSION).map(PathBuf::from))
        .find_map(|dir| Session::open(&dir).ok())
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn about(args: &[OsString]) -> ! {
    let version = args.first().is_some_and(|arg| arg == OsStr::new("--version"));
    let text = if version {
        concat!("upatch-cc ", env!("CARGO_PKG_VERSION"), "\n")
    } else {
        "upatch-cc stands in for compilers, assemblers and linkers under links that upatch-build makes.\n\
         It is not meant to be run by hand. Options: --help, --version\n"
    };
    let _ = std::io::stdout().write_all(text.as_bytes());
    std::process::exit(if version || args.first().is_some_and(|arg| arg == OsStr::new("--help")) {
        0
    } else {
        2
    });
}

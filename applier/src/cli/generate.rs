//! Manual page and completions, made from the options themselves.

use super::args::Args;
use crate::manage::{Context, Error};
use clap::CommandFactory;
use patchfile::exit::ManageExit;
use std::io::{ErrorKind, Write};

/// With `--root`, all of them below that.
const FILES: &str = r#".SH FILES
.TP
\fI/etc/upatch/upatch.yaml\fR
Defaults of this machine, all of them optional: \fBtimeout\fR, seconds for which busy processes are tried again (10); \fBinterval\fR, seconds between
two looks of the service at all processes (1); \fBhold\fR, whether the service may hold processes as they start (true). Owned by root and not
writable by others, or it is not read.
.TP
\fI/usr/lib/upatch/patches\fR
Installed patches, one folder for each build of a package.
.TP
\fI/var/lib/upatch\fR
What is wanted: patches applied, accepted, and copies of those whose package may go; and what was done when (see \fBupatch log\fR).
.TP
\fI/run/upatch\fR
Lock, socket of the service, why processes are still pending, and notes about threads that are kept to one processor while they start.
"#;

/// Prints completions.
pub(super) fn completions(ctx: &mut Context<'_>, shell: clap_complete::Shell) -> Result<ManageExit, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "upatch", &mut text);
    print(ctx, &text)
}

/// Prints the manual page: the program, then each verb.
pub(super) fn man(ctx: &mut Context<'_>) -> Result<ManageExit, Error> {
    let failed = |e| Error::failed("man", e);
    let mut command = Args::command();
    command.build();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.clone()).section("8");
    page.render_title(&mut text)
        .and_then(|()| page.render_name_section(&mut text))
        .and_then(|()| page.render_synopsis_section(&mut text))
        .and_then(|()| page.render_description_section(&mut text))
        .and_then(|()| page.render_options_section(&mut text))
        .map_err(failed)?;
    for verb in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let man = clap_mangen::Man::new(verb.clone());
        writeln!(text, ".SH \"UPATCH {}\"", verb.get_name().to_uppercase()).map_err(failed)?;
        let mut part = Vec::new();
        man.render_description_section(&mut part)
            .and_then(|()| man.render_options_section(&mut part))
            .map_err(failed)?;
        // Sections of the whole page become parts of the verb's.
        let part = String::from_utf8_lossy(&part).replace(".SH DESCRIPTION\n", "").replace(".SH ", ".SS ");
        text.extend_from_slice(part.as_bytes());
    }
    page.render_extra_section(&mut text).map_err(failed)?;
    text.extend_from_slice(FILES.as_bytes());
    print(ctx, &text)
}

fn print(ctx: &mut Context<'_>, text: &[u8]) -> Result<ManageExit, Error> {
    match ctx.out.write_all(text) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::failed("standard output", e)),
        _ => Ok(ManageExit::Done),
    }
}

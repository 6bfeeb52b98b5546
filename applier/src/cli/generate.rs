//! Manual page and completions, made from the options themselves.

use super::args::Args;
use crate::manage::{Context, Error};
use clap::CommandFactory;
use patchfile::exit::ManageExit;
use std::io::{ErrorKind, Write};

/// What the options do not say: examples, exit status, files, other pages.
const TAIL: &str = include_str!("manual.roff");

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
    text.extend_from_slice(TAIL.as_bytes());
    print(ctx, &text)
}

fn print(ctx: &mut Context<'_>, text: &[u8]) -> Result<ManageExit, Error> {
    match ctx.out.write_all(text) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::failed("standard output", e)),
        _ => Ok(ManageExit::Done),
    }
}

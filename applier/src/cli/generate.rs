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
    let text = with_names(shell, &String::from_utf8_lossy(&text));
    print(ctx, text.as_bytes())
}

/// Verbs that are followed by names of patches.
const NAMING: &str =
    "status info target check apply active activate deactive deactivate accept remove log history";

/// A script that also completes what only `upatch` itself knows: names of patches, and processes.
fn with_names(shell: clap_complete::Shell, script: &str) -> String {
    use clap_complete::Shell;
    match shell {
        Shell::Bash => {
            // The generated function is kept and completes all else.
            let script = script.replace("complete -F _upatch ", "complete -F _upatch_with_names ");
            include_str!("complete.bash").replace("@VERBS@", &NAMING.replace(' ', "|")) + &script
        }
        Shell::Zsh => script
            .lines()
            .map(|line| {
                let line = if line.contains(":PID:_default") || line.contains(":pid -- ") {
                    line.replace(":_default", ":_upatch_pids")
                } else if line.contains("::ids -- ") {
                    line.replace(":_default", ":_upatch_ids")
                } else {
                    line.to_owned()
                };
                // Functions come behind the line that names the command.
                if line.starts_with("#compdef") {
                    line + "\n" + include_str!("complete.zsh")
                } else {
                    line + "\n"
                }
            })
            .collect(),
        Shell::Fish => script.to_owned() + &include_str!("complete.fish").replace("@VERBS@", NAMING),
        _ => script.to_owned(),
    }
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

//! `upatch-diff`: compares two objects of one unit and says what a live patch would replace.

mod show;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};

/// Compare two variants of one object file (both compiled with -ffunction-sections -fdata-sections).
///
/// Exit codes: 0 something changed, 3 nothing changed, 4 the change cannot be live-patched, 1 another
/// failure, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Object of the original source
    orig: PathBuf,
    /// Object of the patched source
    patched: PathBuf,
    /// Write the patch object here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say why each symbol counts as changed
    #[arg(long)]
    explain: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Compare the object as built with the one compiled with a section per function: is the code the same?
    #[arg(long, conflicts_with_all = ["output", "explain", "json"])]
    same_code: bool,
    /// Ship constants that other units can see
    #[arg(long)]
    allow_global_constants: bool,
    /// The objects are of the kernel or, with `=module`, of one of its modules
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "image")]
    kernel: Option<Kernel>,
    /// Colours
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
}

/// What of the kernel the objects are linked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kernel {
    Image,
    Module,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(args: &Args) -> anyhow::Result<u8> {
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let (orig, patched) = (read(&args.orig)?, read(&args.patched)?);
    if args.same_code {
        let mismatches = differ::same_code(&orig, &patched)?;
        let mut out = std::io::stdout().lock();
        for mismatch in &mismatches {
            writeln!(out, "{}: {}", mismatch.function, mismatch.detail)?;
        }
        return Ok(if mismatches.is_empty() { 3 } else { 0 });
    }
    let opts = differ::Options {
        profile: if args.kernel.is_some() { differ::Profile::Kernel } else { differ::Profile::User },
        kernel: differ::KernelOptions {
            module: args.kernel == Some(Kernel::Module),
            ..differ::KernelOptions::default()
        },
        allow_global_rodata: args.allow_global_constants,
        ..differ::Options::default()
    };
    let diff = differ::diff(&orig, &patched, &opts)?;

    let mut out = std::io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, &diff)
            .map_err(std::io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        let color = match args.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::IsTerminal::is_terminal(&out) && std::env::var_os("NO_COLOR").is_none(),
        };
        show::show(&mut out, &diff, args.explain, color)
    };
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(e).context("standard output"),
        _ => {}
    }
    if !diff.refused.is_empty() {
        return Ok(4);
    }
    if diff.is_unchanged() {
        return Ok(3);
    }
    if let (Some(path), Some(patch)) = (&args.output, &diff.patch) {
        save(path, &patch.to_elf()?)?;
    }
    Ok(0)
}

/// Writes to a new file beside it and renames: never half a file.
fn save(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("the output has no file name")?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result.with_context(|| path.display().to_string())
}

//! The part of a program that csmith writes, as lines with their role.

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use std::process::Command;

/// One csmith program, cut at its landmarks.
#[derive(Clone, Debug)]
pub(crate) struct Csmith {
    pub(crate) lines: Vec<String>,
    /// Lines of global variables.
    pub(crate) globals: std::ops::Range<usize>,
    /// Lines of function bodies.
    pub(crate) functions: std::ops::Range<usize>,
    /// The line in front of which the checksum is complete.
    pub(crate) end: usize,
}

/// Where the distribution puts `csmith.h`.
pub(crate) const INCLUDE: &str = "/usr/include/csmith";

/// Generates programs until one is neither trivial nor slow to compile.
///
/// # Errors
/// When csmith is not installed, or prints what is not known.
pub(crate) fn generate(rng: &mut Rng) -> Result<Csmith> {
    // csmith leaves a file where it runs.
    let scratch = tempfile::tempdir()?;
    for _ in 0..50 {
        let mut command = Command::new("csmith");
        let mut option = |name: &str, value: u32| {
            command.args([name, &value.to_string()]);
        };
        option("--seed", rng.u32(1..));
        option("--max-funcs", rng.u32(3..8));
        option("--max-block-size", rng.u32(2..5));
        option("--max-block-depth", rng.u32(2..4));
        option("--max-expr-complexity", rng.u32(3..9));
        option("--max-array-dim", 2);
        option("--max-array-len-per-dim", 6);
        option("--inline-function-prob", rng.u32(0..60));
        command.args(["--no-argc", "--inline-function"]).current_dir(scratch.path());
        if rng.bool() {
            command.arg("--no-volatiles");
        }
        let out = command.output().context("csmith (Debian: packages csmith and libcsmith-dev)")?;
        ensure!(out.status.success(), "csmith: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8(out.stdout)?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // With the statistics, which are some seventy.
        if !(220..1200).contains(&lines.len()) {
            continue;
        }
        return cut(lines);
    }
    bail!("csmith gives no program of moderate size")
}

fn cut(mut lines: Vec<String>) -> Result<Csmith> {
    let find = |mark: &str, lines: &[String]| {
        lines.iter().position(|l| l.trim() == mark).with_context(|| format!("csmith wrote no {mark}"))
    };
    let globals = find("/* --- GLOBAL VARIABLES --- */", &lines)?;
    let forward = find("/* --- FORWARD DECLARATIONS --- */", &lines)?;
    let functions = find("/* --- FUNCTIONS --- */", &lines)?;
    let main = find("int main (void)", &lines)?;
    let end = lines.iter().position(|l| l.contains("platform_main_end(")).context("csmith: no end")?;
    // Statistics follow, in a comment.
    lines.truncate(lines.iter().position(|l| l.contains("* statistics *")).unwrap_or(lines.len()));
    "int unit_main(void)".clone_into(&mut lines[main]);
    Ok(Csmith { lines, globals: globals..forward, functions: functions..main, end })
}

impl Csmith {
    /// Does a whole statement start on this line, so that another may stand in front of it?
    pub(crate) fn is_statement(&self, index: usize) -> bool {
        let line = &self.lines[index];
        let text = line.trim_start();
        line.starts_with("    ") && ["for (", "if (", "return "].iter().any(|s| text.starts_with(s))
    }

    /// Lines in function bodies for which `wanted` holds.
    pub(crate) fn body_lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
        self.functions.clone().filter(|&i| wanted(&self.lines[i])).collect()
    }

    /// Makes functions and variables visible to other units.
    pub(crate) fn make_global(&mut self, variables: bool) {
        let range = if variables {
            self.globals.start..self.functions.end
        } else {
            self.globals.end..self.functions.end
        };
        for line in &mut self.lines[range] {
            // An `inline` function that is not static has no definition of its own in C.
            if let Some(rest) = line.strip_prefix("static ") {
                *line = rest.to_owned();
            }
        }
    }
}

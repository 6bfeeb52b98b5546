//! Do functions of two builds of a package differ in more than line numbers? Asked of the programs themselves, with objdump, since
//! the differ is what is on trial.

use super::Shipped;
use crate::package::{files_below, unpack};
use crate::run::Cmd;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Those of `functions` that differ in more than line numbers between two builds of a package, or are in one of them only.
///
/// # Errors
/// There is no debuginfo RPM, or a program to read ELF files fails.
pub(super) fn really_differ(before: &Shipped, after: &Shipped, functions: &[String]) -> Result<Vec<String>> {
    let (old, new) = (Listing::read(before)?, Listing::read(after)?);
    Ok(functions.iter().filter(|f| !old.same_but_for_lines(&new, f)).cloned().collect())
}

/// The instructions of each function of each ELF file of a package, addresses left out.
struct Listing(BTreeMap<(PathBuf, String), Vec<String>>);

impl Listing {
    fn read(shipped: &Shipped) -> Result<Self> {
        let scratch = tempfile::tempdir()?;
        let debug = scratch.path().join("debug");
        for rpm in files_below(shipped.rpm.parent().context("no folder of RPMs")?)? {
            if rpm.to_string_lossy().contains("-debuginfo-") {
                unpack(&rpm, &debug)?;
            }
        }
        let debug_files = files_below(&debug)?;
        let mut all = BTreeMap::new();
        for elf in files_below(&shipped.root)? {
            let below = elf.strip_prefix(&shipped.root)?.to_path_buf();
            let stem = debug.join("usr/lib/debug").join(&below).to_string_lossy().into_owned();
            let is_its = |p: &&PathBuf| {
                p.to_string_lossy()
                    .strip_prefix(&stem)
                    .is_some_and(|rest| rest.ends_with(".debug") && !rest.contains('/'))
            };
            let Some(symbols) = debug_files.iter().find(is_its) else { continue };
            let whole = scratch.path().join("whole");
            Cmd::new("eu-unstrip").arg("-o").arg(&whole).arg(&elf).arg(symbols).run()?.ok()?;
            for (name, code) in disassemble(&whole)? {
                all.insert((below.clone(), name), code);
            }
        }
        Ok(Self(all))
    }

    fn same_but_for_lines(&self, other: &Self, function: &str) -> bool {
        let of = |listing: &Self| -> Vec<(PathBuf, Vec<String>)> {
            let named = listing.0.iter().filter(|((_, name), _)| name == function);
            named.map(|((path, _), code)| (path.clone(), code.clone())).collect()
        };
        let (old, new) = (of(self), of(other));
        !old.is_empty()
            && old.len() == new.len()
            && old.iter().zip(&new).all(|((p, a), (q, b))| p == q && same_code(a, b))
    }
}

fn disassemble(elf: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let listing = Cmd::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(elf).run()?.ok()?.stdout;
    let mut functions: Vec<(String, Vec<String>)> = Vec::new();
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|l| l.split_once('<')) {
            functions.push((name.1.to_owned(), Vec::new()));
        } else if let (Some((_, instruction)), Some((name, code))) =
            (line.split_once(":\t"), functions.last_mut())
        {
            code.push(plain(instruction, name));
        }
    }
    Ok(functions)
}

/// An instruction without what moves when other code grows: addresses of the program. Places inside the function stay.
fn plain(instruction: &str, function: &str) -> String {
    let (instruction, _) = instruction.split_once('#').unwrap_or((instruction, ""));
    let words = instruction.split_whitespace().filter(|word| {
        let target = word.starts_with('<');
        !target && !word.bytes().all(|b| b.is_ascii_hexdigit())
    });
    let mut text: Vec<String> = words.map(str::to_owned).collect();
    if let Some((_, target)) = instruction.split_once('<') {
        let target = target.trim_end().trim_end_matches('>');
        let name = target.split_once("+0x").map_or(target, |(name, _)| name);
        text.push(if name == function { target.to_owned() } else { name.to_owned() });
    }
    let mut text = text.join(" ");
    if let Some(end) = text.find("(%rip)") {
        let from = text[..end].rfind([' ', ',']).map_or(0, |at| at + 1);
        text.replace_range(from..end, "");
    }
    text
}

/// Equal, but for numbers that are put into a register as an argument is.
fn same_code(a: &[String], b: &[String]) -> bool {
    let argument = |text: &str| -> Option<String> {
        let (number, register) = text.strip_prefix("mov $0x")?.split_once(",%")?;
        let plain = number.bytes().all(|b| b.is_ascii_hexdigit());
        (plain && ["edi", "esi", "edx", "ecx", "r8d", "r9d"].contains(&register)).then(|| register.to_owned())
    };
    // What is behind the last instruction fills up to the next function.
    let end = |code: &[String]| code.len() - code.iter().rev().take_while(|i| is_filling(i)).count();
    let (a, b) = (&a[..end(a)], &b[..end(b)]);
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| x == y || argument(x).is_some_and(|r| argument(y) == Some(r)))
}

fn is_filling(instruction: &str) -> bool {
    instruction.starts_with("nop")
        || instruction.starts_with("cs nopw")
        || instruction == "xchg %ax,%ax"
        || instruction.starts_with("data16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_line_numbers_may_differ() {
        let code = |text: &str| text.lines().map(|l| plain(l, "f")).collect::<Vec<_>>();
        let old = code(
            "lea    0x2a(%rip),%rdi        # 2000 <x>\nmov    $0x173,%edx\nje     10e0 <f+0x20>\ncall   1000 <g>\nret\nnop",
        );
        let moved = code(
            "lea    0x3f(%rip),%rdi        # 3000 <y+0x8>\nmov    $0x16d,%edx\nje     11e0 <f+0x20>\ncall   1100 <g>\nret",
        );
        assert!(same_code(&old, &moved));
        for other in [
            code("lea    0x2a(%rip),%rdi\nmov    $0x173,%edx\nje     10e0 <f+0x24>\ncall   1000 <g>\nret"),
            code("lea    0x2a(%rip),%rdi\nmov    $0x173,%eax\nje     10e0 <f+0x20>\ncall   1000 <g>\nret"),
            code("lea    0x2a(%rip),%rdi\nmov    $0x173,%edx\nje     10e0 <f+0x20>\ncall   1000 <h>\nret"),
            code("lea    0x2a(%rip),%rdi\nmov    $0x173,%edx\nje     10e0 <f+0x20>\ncall   1000 <g>"),
        ] {
            assert!(!same_code(&old, &other), "{other:?}");
        }
    }
}

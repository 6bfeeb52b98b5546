//! A second opinion on what changed, from `objdump`: each function whose instructions read otherwise has to
//! be accounted for by the comparison.

use anyhow::{Context, Result, bail, ensure};
use differ::UnitDiff;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Every function whose listing differs is in `diff`.
///
/// # Errors
/// One that is not.
pub(super) fn account(original: &Path, patched: &Path, diff: &UnitDiff) -> Result<()> {
    let (before, after) = (listing(original)?, listing(patched)?);
    for (name, text) in &before {
        let Some(other) = after.get(name).filter(|other| !reads_alike(text, other)) else { continue };
        let known = |c: &differ::Change| c.name == *name || c.orig_name.as_deref() == Some(name);
        if !diff.functions.iter().any(known) {
            let line = text.lines().zip(other.lines()).find(|(a, b)| !same_line(a, b));
            bail!("{name} reads otherwise, and is not reported as changed: {line:?}");
        }
    }
    Ok(())
}

fn reads_alike(before: &str, after: &str) -> bool {
    before.lines().count() == after.lines().count()
        && before.lines().zip(after.lines()).all(|(a, b)| same_line(a, b))
}

/// A constant that comes to be static, or no longer is, has a name on one side only.
fn same_line(a: &str, b: &str) -> bool {
    let unnamed = |a: &str, b: &str| a.strip_suffix(CONSTANT).is_some_and(|kind| b.starts_with(kind));
    a == b || unnamed(a, b) || unnamed(b, a)
}

/// Stands for a constant without a name of its own.
const CONSTANT: &str = "constant";

/// Instructions and the symbols that they refer to, by function.
fn listing(object: &Path) -> Result<BTreeMap<String, String>> {
    let out = Command::new("objdump")
        .args(["-dr", "--no-show-raw-insn"])
        .arg(object)
        .output()
        .context("objdump")?;
    ensure!(out.status.success(), "objdump: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout);
    let mut all = BTreeMap::new();
    for part in text.split("Disassembly of section ").skip(1) {
        let (section, lines) = part.split_once(":\n").unwrap_or((part, ""));
        let Some(name) = function(section) else { continue };
        let body: Vec<String> = lines.lines().filter_map(line).collect();
        all.entry(name).or_insert_with(String::new).push_str(&body.join("\n"));
    }
    Ok(all)
}

/// The function that a section is for. Clones are numbered as it comes, so one of a number is not always the
/// same one.
fn function(section: &str) -> Option<String> {
    named_by(section).filter(|name| !name.contains('.')).map(str::to_owned)
}

/// What `-ffunction-sections` has named a section of code after.
fn named_by(section: &str) -> Option<&str> {
    let rest = section.strip_prefix(".text.")?;
    Some(["unlikely.", "startup.", "hot.", "exit."].iter().find_map(|p| rest.strip_prefix(p)).unwrap_or(rest))
}

fn line(line: &str) -> Option<String> {
    let text = line.trim_start();
    let (_, rest) = text.split_once(':')?;
    let rest = rest.trim();
    if let Some((kind, symbol)) = rest.split_once('\t').filter(|(kind, _)| kind.starts_with("R_X86_64")) {
        // Where it is defined and whether others see it decides whether a call may go through the PLT.
        let kind = if kind == "R_X86_64_PLT32" { "R_X86_64_PC32" } else { kind };
        // A static function is named by its section, of which it is all. Constants without a name move as
        // they like.
        let symbol = named_by(symbol).unwrap_or(symbol);
        let symbol = if symbol.starts_with('.') { CONSTANT } else { symbol };
        let name = symbol.split('.').next().unwrap_or(symbol);
        return Some(format!("{kind} {name}"));
    }
    let padding = rest.is_empty()
        || ["nop", "xchg   %ax,%ax", "data16", "cs nop", "int3"].iter().any(|p| rest.starts_with(p));
    // A numbered name may be shown beside an address inside of the function.
    (!padding).then(|| rest.split(" <").next().unwrap_or(rest).split(" #").next().unwrap_or(rest).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_may_lose_its_name() {
        let named = "mov    0x0(%rip),%eax\nR_X86_64_PC32 limits_3-0x4\nret";
        let unnamed = named.replace("limits_3-0x4", CONSTANT);
        assert!(reads_alike(named, &unnamed) && reads_alike(&unnamed, named));
        assert!(!reads_alike(named, &named.replace("limits_3", "limits_4")));
        assert!(!reads_alike(named, &unnamed.replace("PC32", "GOTPCREL")));
        assert!(!reads_alike(named, &unnamed.replace("\nret", "")));
    }

    #[test]
    fn a_static_function_is_called_by_its_section() {
        let before = line("\t\t\t1f: R_X86_64_PC32\t.text.feat_1-0x4");
        assert_eq!(before, line("\t\t\t1f: R_X86_64_PLT32\tfeat_1-0x4"));
        assert_ne!(before, line("\t\t\t1f: R_X86_64_PLT32\tfeat_2-0x4"));
        assert_ne!(before, line("\t\t\t1f: R_X86_64_PC32\t.rodata.feat_1-0x4"));
    }
}

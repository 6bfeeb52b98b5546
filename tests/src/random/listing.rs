//! A second opinion on what changed, from `objdump`: each function whose instructions read otherwise has to be accounted for by the comparison.

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
        let Some(other) = after.get(name).filter(|other| *other != text) else { continue };
        let known = |c: &differ::Change| c.name == *name || c.orig_name.as_deref() == Some(name);
        if !diff.functions.iter().any(known) {
            let line = text.lines().zip(other.lines()).find(|(a, b)| a != b);
            bail!("{name} reads otherwise, and is not reported as changed: {line:?}");
        }
    }
    Ok(())
}

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

/// The function that a section is for. Clones are numbered as it comes, so one of a number is not always the same one.
fn function(section: &str) -> Option<String> {
    let rest = section.strip_prefix(".text.")?;
    let rest =
        ["unlikely.", "startup.", "hot.", "exit."].iter().find_map(|p| rest.strip_prefix(p)).unwrap_or(rest);
    (!rest.contains('.')).then(|| rest.to_owned())
}

fn line(line: &str) -> Option<String> {
    let text = line.trim_start();
    let (_, rest) = text.split_once(':')?;
    let rest = rest.trim();
    if let Some((kind, symbol)) = rest.split_once('\t').filter(|(kind, _)| kind.starts_with("R_X86_64")) {
        // Constants without a name move as they like.
        let symbol = if symbol.starts_with('.') { "constant" } else { symbol };
        let name = symbol.split('.').next().unwrap_or(symbol);
        return Some(format!("{kind} {name}"));
    }
    let padding = rest.is_empty()
        || ["nop", "xchg   %ax,%ax", "data16", "cs nop", "int3"].iter().any(|p| rest.starts_with(p));
    // A numbered name may be shown beside an address inside of the function.
    (!padding).then(|| rest.split(" <").next().unwrap_or(rest).split(" #").next().unwrap_or(rest).to_owned())
}

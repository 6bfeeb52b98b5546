//! Do functions of two builds of a package differ in more than line numbers? Asked of the programs
//! themselves, with objdump, since the differ is what is on trial.

use super::Shipped;
use crate::package::{files_below, unpack};
use crate::run::Cmd;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Those of `functions` that differ in more than line numbers between two builds of a package, or are in one
/// of them only.
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
        let function = function.strip_suffix(ALIAS).unwrap_or(function);
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
    Ok(functions(&listing))
}

/// A function of a listing: name, address, instructions with their offsets.
type Listed<'a> = (String, u64, Vec<(u64, &'a str)>);

/// What GCC calls the local second name that it gives a function which another module may replace; which of
/// the two objdump shows is not the same in every build.
const ALIAS: &str = ".localalias";

/// The functions of a listing, with their instructions.
fn functions(listing: &str) -> Vec<(String, Vec<String>)> {
    let listing = listing.replace(&format!("{ALIAS}>"), ">").replace(&format!("{ALIAS}+"), "+");
    let mut functions: Vec<Listed<'_>> = Vec::new();
    let number = |text: &str| u64::from_str_radix(text.trim(), 16).ok();
    for line in listing.lines() {
        if let Some((address, name)) = line.strip_suffix(">:").and_then(|l| l.split_once(" <")) {
            functions.push((name.to_owned(), number(address).unwrap_or_default(), Vec::new()));
        } else if let (Some((address, instruction)), Some((_, start, code))) =
            (line.split_once(":\t"), functions.last_mut())
            && !is_filling(instruction)
        {
            code.push((number(address).unwrap_or_default() - *start, instruction));
        }
    }
    let plain = |(name, _, code): Listed<'_>| {
        let offsets: Vec<u64> = code.iter().map(|(at, _)| *at).collect();
        let code = code.iter().map(|(_, instruction)| plain(instruction, &name, &offsets)).collect();
        (name, code)
    };
    functions.into_iter().map(plain).collect()
}

/// An instruction without what moves when other code grows: addresses of the program. Places inside the
/// function are counted in instructions, `offsets` of which are those that do something: what fills up to a
/// boundary hangs on where the function lies.
fn plain(instruction: &str, function: &str, offsets: &[u64]) -> String {
    let (instruction, _) = instruction.split_once('#').unwrap_or((instruction, ""));
    let words = instruction.split_whitespace().filter(|word| {
        let target = word.starts_with('<');
        !target && !word.bytes().all(|b| b.is_ascii_hexdigit())
    });
    let mut text: Vec<String> = words.map(str::to_owned).collect();
    if let Some((_, target)) = instruction.split_once('<') {
        let target = target.trim_end().trim_end_matches('>');
        let (name, offset) = target.split_once("+0x").unwrap_or((target, "0"));
        let place = u64::from_str_radix(offset, 16).ok().filter(|_| name == function);
        text.push(match place {
            Some(place) => format!("{name}#{}", offsets.partition_point(|at| *at < place)),
            None => name.to_owned(),
        });
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
    a.len() == b.len()
        && a.iter().zip(b).all(|(x, y)| x == y || argument(x).is_some_and(|r| argument(y) == Some(r)))
}

fn is_filling(instruction: &str) -> bool {
    instruction.starts_with("nop")
        || instruction.starts_with("cs nopw")
        || instruction.split_whitespace().eq(["xchg", "%ax,%ax"])
        || instruction.starts_with("data16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_name_of_a_function_is_the_function() {
        let one = functions(
            "1000 <f.localalias>:\n 1000:\tje     1008 <f.localalias+0x8>\n 1008:\tcall   1000 \
             <f.localalias>\n",
        );
        let other = functions("2000 <f>:\n 2000:\tje     2008 <f+0x8>\n 2008:\tcall   2000 <f>\n");
        assert_eq!(one, other);
    }

    #[test]
    fn only_line_numbers_may_differ() {
        let code = |text: &str| {
            let listing = text.replace('@', "      ");
            functions(&listing).swap_remove(0).1
        };
        let old = code(
            "1000 <f>:\n@1000:\tlea    0x2a(%rip),%rdi        # 2000 <x>\n@1007:\tmov    \
             $0x173,%edx\n@100c:\tje     1014 <f+0x14>\n\
             @100e:\tnopw 0x0(%rax,%rax,1)\n@1014:\tcall   900 <g>\n@1019:\tret\n@101a:\tnop",
        );
        assert_eq!(old.len(), 5);
        let moved = code(
            "1108 <f>:\n@1108:\tlea    0x3f(%rip),%rdi        # 3000 <y+0x8>\n@110f:\tmov    $0x16d,%edx\n\
             @1114:\tje     1118 <f+0x10>\n@1116:\txchg   %ax,%ax\n@1118:\tcall   1100 <g>\n@111d:\tret",
        );
        assert!(same_code(&old, &moved));
        let body = |jump: &str, register: &str, callee: &str, end: &str| {
            code(&format!(
                "1000 <f>:\n@1000:\tlea    0x2a(%rip),%rdi\n@1007:\tmov    \
                 $0x173,%{register}\n@100c:\tje     {jump}\n\
                 @1014:\tcall   900 <{callee}>\n{end}"
            ))
        };
        let ret = "@1019:\tret";
        assert!(same_code(&old, &body("1014 <f+0x14>", "edx", "g", ret)));
        for other in [
            body("1019 <f+0x19>", "edx", "g", ret),
            body("1014 <f+0x14>", "eax", "g", ret),
            body("1014 <f+0x14>", "edx", "h", ret),
            body("1014 <f+0x14>", "edx", "g", ""),
        ] {
            assert!(!same_code(&old, &other), "{other:?}");
        }
    }
}

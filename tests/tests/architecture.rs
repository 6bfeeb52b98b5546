//! Rules of docs/ARCHITECTURE.md that a compiler does not check.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::folders::Crate;
use tests::package::files_below;
use tests::paths::repository;

const CRATES: [&str; 8] =
    ["patchfile", "records", "wrapper", "differ", "linker", "packager", "applier", "tests"];

fn sources(below: &str) -> Result<Vec<(PathBuf, String)>> {
    let dir = repository().join(below);
    let mut all = Vec::new();
    for path in files_below(&dir)? {
        if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path)?;
            all.push((path.strip_prefix(repository()).unwrap_or(&path).to_path_buf(), text));
        }
    }
    ensure!(!all.is_empty(), "no source in {below}");
    Ok(all)
}

/// Lines of code: comments left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

fn tracked() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(repository())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["target", ".git", "mkcase-cache", "corpus-cache"].contains(&name.as_str())
            || name.starts_with("target-")
        {
            continue;
        }
        if path.is_dir() { files.extend(files_below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

#[test]
fn object_types_stay_in_one_module_of_each_crate() -> Result<()> {
    for name in CRATES {
        let mut homes = BTreeSet::new();
        for (path, text) in sources(&format!("{name}/src"))? {
            let uses = code(&text).any(|(_, line)| {
                line.contains("object::")
                    && line.match_indices("object::").any(|(at, _)| {
                        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                    })
            });
            if uses {
                // A module is a file src/x.rs or all of a folder src/x/.
                let part = path.components().nth(2).context("path")?;
                homes.insert(Path::new(part.as_os_str()).with_extension("").to_string_lossy().into_owned());
            }
        }
        ensure!(homes.len() <= 1, "crate {name} uses object:: in several modules: {homes:?}");
    }
    Ok(())
}

#[test]
fn crates_depend_only_as_drawn() -> Result<()> {
    let allowed: [(&str, &[&str]); 7] = [
        ("patchfile", &[]),
        ("records", &[]),
        ("wrapper", &["records"]),
        ("differ", &["patchfile"]),
        ("linker", &["records", "differ", "patchfile"]),
        ("packager", &["wrapper", "differ", "linker", "patchfile"]),
        ("applier", &["patchfile"]),
    ];
    for (name, may) in allowed {
        let text = fs::read_to_string(repository().join(name).join("Cargo.toml"))?;
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let word = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let shipped = section.contains("dependencies") && !section.contains("dev-dependencies");
            if shipped && CRATES.contains(&word) {
                ensure!(may.contains(&word), "{name} depends on {word}");
            }
        }
    }
    Ok(())
}

#[test]
fn differ_linker_and_records_do_no_io() -> Result<()> {
    let folders = ["differ/src", "linker/src", "records/src"].map(sources);
    let all = folders.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten();
    for (path, text) in all {
        if path.components().any(|c| c.as_os_str() == "bin") {
            continue;
        }
        // Unit tests, which come last, may.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (line, code) in code(text) {
            for word in
                ["std::fs", "fs_err", "std::process", "std::net", "std::env", "File::open", "println!"]
            {
                ensure!(!code.contains(word), "{}:{line}: {word}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn patchfile_makes_no_system_calls() -> Result<()> {
    for (path, text) in sources("patchfile/src")? {
        for (line, code) in code(&text) {
            for word in ["std::fs", "fs_err", "std::process::Command", "std::net", "libc::", "nix::"] {
                ensure!(!code.contains(word), "{}:{line}: {word}", path.display());
            }
        }
    }
    Ok(())
}

#[test]
fn unsafe_stays_in_sys() -> Result<()> {
    for name in CRATES {
        for (path, text) in sources(&format!("{name}/src"))? {
            if path.components().any(|c| c.as_os_str() == "sys" || c.as_os_str() == "sys.rs") {
                continue;
            }
            for (line, code) in code(&text) {
                ensure!(
                    !code.contains("unsafe {") && !code.contains("unsafe fn"),
                    "{}:{line}: unsafe",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

/// Columns, as in `rustfmt.toml`. rustfmt wraps code, but neither comments nor texts; it leaves code alone
/// that has a text which is too wide.
const WIDTH: usize = 110;

/// Attributes and texts of tests may be wider: many of the latter are programs.
#[test]
fn lines_are_no_wider_than_code() -> Result<()> {
    let mut wide = Vec::new();
    for name in CRATES {
        for (path, text) in sources(name)? {
            let is_program = path.components().nth(1).is_some_and(|folder| folder.as_os_str() == "src");
            let tests = text.find("#[cfg(test)]\nmod ").map_or(usize::MAX, |at| text[..at].lines().count());
            let tests = if is_program { tests } else { 0 };
            let is_wide = |(n, line): &(usize, &str)| {
                let (line, columns) = (line.trim_start(), line.chars().count());
                columns > WIDTH && (line.starts_with("//") || (*n < tests && !line.starts_with("#[")))
            };
            let found = text.lines().enumerate().filter(is_wide);
            wide.extend(found.map(|(n, _)| format!("{}:{}", path.display(), n + 1)));
        }
    }
    ensure!(wide.is_empty(), "wider than {WIDTH} columns:\n{}", wide.join("\n"));
    Ok(())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    for name in CRATES {
        for (path, text) in sources(name)? {
            ensure!(
                text.lines().count() <= 800,
                "{} has {} lines: split it",
                path.display(),
                text.lines().count()
            );
        }
    }
    Ok(())
}

#[test]
fn lints_and_metadata_are_those_of_the_workspace() -> Result<()> {
    for name in CRATES {
        let text = fs::read_to_string(repository().join(name).join("Cargo.toml"))?;
        ensure!(text.contains("[lints]\nworkspace = true"), "{name}: no workspace lints");
        ensure!(text.contains("license.workspace = true"), "{name}: no licence");
    }
    Ok(())
}

#[test]
fn no_path_of_one_machine() -> Result<()> {
    // Put together here, so that this file does not hold them itself.
    let bad = ["/home", "/root/.cargo"].map(|p| format!("{p}/"));
    for path in tracked()? {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (n, line) in text.lines().enumerate() {
            for word in &bad {
                let at_start = line.match_indices(word.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}/._-)$".contains(c))
                });
                ensure!(!at_start, "{}:{}: {word}", path.display(), n + 1);
            }
        }
    }
    Ok(())
}

#[test]
fn folders_of_a_crate_use_each_other_in_one_direction() -> Result<()> {
    for name in CRATES {
        let circles = Crate::read(&repository().join(name).join("src"))?.circles();
        ensure!(circles.is_empty(), "crate {name}, folders in a circle:\n{}", circles.join("\n"));
    }
    Ok(())
}

/// Crates in which only the folder `src/arch` may name what an instruction set has.
const NEUTRAL: [&str; 3] = ["differ", "linker", "applier"];

#[test]
fn names_of_an_instruction_set_stay_in_arch() -> Result<()> {
    for name in NEUTRAL {
        for (path, text) in sources(&format!("{name}/src"))? {
            if path.starts_with(Path::new(name).join("src/arch")) {
                continue;
            }
            for (n, line) in text.lines().enumerate() {
                // Comments count too: who reads them would look for the code that goes with them.
                let word = line.split(|c: char| !c.is_alphanumeric()).find(|word| of_x86(word));
                ensure!(word.is_none(), "{}:{}: {}", path.display(), n + 1, word.unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// A register, an instruction, a relocation, the decoder or the name of x86-64 itself. Words are parts of
/// names between underscores.
fn of_x86(word: &str) -> bool {
    const REGISTERS: [&str; 10] = ["ip", "ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "flags"];
    const OTHERS: [&str; 14] = [
        "x86",
        "X86",
        "iced",
        "Mnemonic",
        "Opcode",
        "endbr64",
        "jmp",
        "lea",
        "movabs",
        "modrm",
        "GOTPCREL",
        "GOTPCRELX",
        "PLT32",
        "PC32",
    ];
    let lower = word.to_ascii_lowercase();
    let general = lower.strip_prefix('r').or_else(|| lower.strip_prefix('e'));
    let numbered = ["r", "xmm", "ymm", "zmm"].iter().filter_map(|p| lower.strip_prefix(p));
    general.is_some_and(|rest| REGISTERS.contains(&rest))
        || numbered
            .filter_map(|rest| rest.parse::<u8>().ok())
            .any(|n| (8..16).contains(&n) || lower.contains("mm"))
        || OTHERS.contains(&word)
}

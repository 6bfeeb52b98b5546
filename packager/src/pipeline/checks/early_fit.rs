//! How well the rebuild matches `--target`, told as soon as the original is built: a rebuild of which no
//! function near the fix is the target's makes no patch, however the fix is built.

use crate::elf::defined_names;
use crate::error::{CompareError, Context, Result};
use crate::files::{self, SOURCE_LIMIT};
use crate::pipeline::builds::Original;
use crate::pipeline::task::Task;
use crate::prep::touched_files;
use crate::target::{Fidelity, Match, causes};
use linker::{ParsedElf, addresses, functions_alike};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What is to be said of the files that differ from what is named by `--target`.
///
/// # Errors Exit code 7 where no function of the units that read what the fix changes is the same in any
/// file: each patch replaces one of those. Nothing is concluded where the fix also changes files that no unit
/// reads, such as the input of a generator.
pub(in crate::pipeline) fn early_fit(
    original: &Original,
    found: &[Match<'_>],
    task: &Task<'_>,
) -> Result<Vec<String>> {
    let differs = |m: &&Match<'_>| m.fidelity == Fidelity::Mismatch;
    if !original.given || !found.iter().any(|m| differs(&m)) {
        return Ok(Vec::new());
    }
    let names = near_the_fix(original, task)?.unwrap_or_default();
    let mut told = Vec::new();
    let mut hopeless = None;
    let mut is_hopeless = true;
    for m in found {
        let (same, all) = alike(original, m, &names)?;
        is_hopeless &= same == 0;
        if differs(&m) {
            let near = match all {
                0 => String::new(),
                _ => {
                    format!("; of the {all} functions in the units that the fix reaches {same} are the same")
                }
            };
            let name = &original.targets[m.target].name;
            told.push(format!("{name} is not the target to the byte: {}{near}", m.difference));
        }
        if same == 0 && all > 0 {
            hopeless.get_or_insert((m, all));
        }
    }
    let Some((m, all)) = hopeless.filter(|_| is_hopeless) else { return Ok(told) };
    let target = &original.targets[m.target];
    let rebuilt = std::fs::read(&m.link.saved).at(m.link.saved.as_path())?;
    let none = format!("none of the {all} functions in the units that the fix reaches is the same");
    Err(CompareError::Mismatch {
        file: target.name.clone(),
        difference: format!("{}; {none}", m.difference),
        causes: causes(target, &rebuilt),
        refused: Vec::new(),
        remedies: Vec::new(),
    }
    .into())
}

/// Functions of the units that read a file which the fix changes; `None` if no unit reads one of those files.
fn near_the_fix(original: &Original, task: &Task<'_>) -> Result<Option<BTreeSet<String>>> {
    let mut changed: Vec<Vec<PathBuf>> = Vec::new();
    for patch in &task.patches {
        changed.extend(
            touched_files(&files::read(patch, SOURCE_LIMIT).at(patch)?, task.request.args.strip).either,
        );
    }
    let mut names = BTreeSet::new();
    for files in &changed {
        let reads = |unit: &&wrapper::UnitRecord| {
            unit.deps.iter().any(|dep| files.iter().any(|file| dep.path.as_path().ends_with(file)))
        };
        let units: Vec<_> = original.records.units.iter().filter(reads).collect();
        if units.is_empty() {
            return Ok(None);
        }
        for unit in units {
            let object = std::fs::read(&unit.stored).unwrap_or_default();
            let defined = defined_names(&object).unwrap_or_default().into_iter();
            names.extend(defined.filter_map(|n| Some(n.name.split('@').next()?.to_owned())));
        }
    }
    Ok(Some(names))
}

fn alike(original: &Original, m: &Match<'_>, names: &BTreeSet<String>) -> Result<(usize, usize)> {
    let target = &original.targets[m.target];
    let linked = std::fs::read(&m.link.saved).at(m.link.saved.as_path())?;
    let files = ParsedElf::parse(&linked, "linked ELF")
        .and_then(|l| Ok((l, ParsedElf::parse(&target.data, "target ELF")?)));
    // What cannot be read is told where it is needed.
    let Ok((linked, shipped)) = files else { return Ok((0, 0)) };
    let Ok(places) = addresses(&linked, &shipped, target.debug.as_deref()) else { return Ok((0, 0)) };
    Ok(functions_alike(&linked, places.as_ref(), names))
}

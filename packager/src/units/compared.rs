//! What the comparison of one pair gave.

use super::inlined::Inlined;
use differ::{Declarations, Options, Refusal, UnitDiff};
use linker::OptimisedUnit;
use std::collections::HashMap;
use std::path::PathBuf;

/// What became of one pair.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    /// Unit for messages.
    pub unit: String,
    /// What differs.
    pub diff: UnitDiff,
    /// The original object as linked; empty for a new unit.
    pub plain: Vec<u8>,
    /// The original objects of a program that was optimised at link time, instead of [`Compared::plain`].
    pub pieces: Option<OptimisedUnit>,
    /// Where a side consists of several objects: by name the object, and the name of the symbol there.
    pub names: [HashMap<String, (usize, String)>; 2],
    /// Changed functions that have something inlined that the fix changes.
    pub inlined: Inlined,
    /// The two objects that were compared, if they are files.
    pub(super) objects: Option<[PathBuf; 2]>,
    /// The patched object that was compared.
    pub patched: Option<PathBuf>,
    /// Functions whose callers were replaced because their entries have no room for a jump.
    pub(super) too_short: Vec<String>,
}

impl Compared {
    /// What the original declares, and the patched object. `None` where they are no files.
    pub(crate) fn declarations(&self) -> Option<[Declarations; 2]> {
        let read = |path: &PathBuf| differ::declarations(&std::fs::read(path).ok()?).ok();
        match &self.objects {
            Some([original, patched]) => Some([read(original)?, read(patched)?]),
            None => Some([Declarations::default(), read(self.patched.as_ref()?)?]),
        }
    }

    /// Compares once more, so that the callers of these functions are replaced and their entries left alone.
    /// `None` where that cannot be done: another comparison gives nothing that can be shipped, or was made
    /// already.
    pub(crate) fn with_callers(&self, too_short: &[String]) -> Option<Self> {
        let mut all = self.too_short.clone();
        all.extend(too_short.iter().filter(|name| !self.too_short.contains(name)).cloned());
        if all.len() == self.too_short.len() {
            return None;
        }
        let [original, patched] = self.objects.as_ref()?;
        let (original, patched) = (std::fs::read(original).ok()?, std::fs::read(patched).ok()?);
        let options = Options { unit: self.unit.clone(), too_short: all.clone(), ..Options::default() };
        let diff = compare_with(&options, &self.plain, &original, &patched).ok()?;
        diff.patch.is_some().then(|| Self { diff, too_short: all, ..self.clone() })
    }
}

/// Compares the sectioned objects of one unit, and makes sure that the sectioned original is what was linked
/// (`plain`; empty for a new unit).
///
/// # Errors
/// When an object cannot be read or holds something that is not known.
pub fn compare_objects(
    unit: &str,
    plain: &[u8],
    original: &[u8],
    patched: &[u8],
) -> std::result::Result<UnitDiff, differ::Error> {
    let options = Options { unit: unit.to_owned(), ..Options::default() };
    compare_with(&options, plain, original, patched)
}

fn compare_with(
    options: &Options,
    plain: &[u8],
    original: &[u8],
    patched: &[u8],
) -> std::result::Result<UnitDiff, differ::Error> {
    let merged = if plain.is_empty() { Vec::new() } else { differ::merged(plain)? };
    let mut diff = differ::diff(original, patched, &Options { merged, ..options.clone() })?;
    match (plain.is_empty(), diff.is_unchanged()) {
        (true, _) => {}
        (false, true) => check_built(&options.unit, &mut diff, plain, original),
        (false, false) => check_flags(&options.unit, &mut diff, plain, original),
    }
    Ok(diff)
}

/// The same for one object; `named` gives the comparison's name of a symbol of it.
pub(super) fn flag_refusals(
    unit: &str,
    diff: &UnitDiff,
    plain: &[u8],
    sectioned: &[u8],
    named: &dyn Fn(&str) -> String,
) -> Vec<Refusal> {
    let refusal = |why: String| Refusal {
        what: "code depends on -ffunction-sections".into(),
        place: unit.to_owned(),
        why,
        remedy: "build the package with -ffunction-sections, or leave this unit out of the fix".into(),
    };
    match differ::same_code(plain, sectioned) {
        Ok(mismatches) => {
            let replaced =
                |name: &str| diff.functions.iter().any(|c| c.orig_name.as_deref().unwrap_or(&c.name) == name);
            let kept = mismatches.iter().filter(|m| !replaced(&named(&m.function)));
            kept.map(|m| refusal(format!("{}: {}", m.function, m.detail))).collect()
        }
        Err(e) => vec![refusal(e.to_string())],
    }
}

/// Refuses when `-ffunction-sections` made other code of a function that the patch does not replace: a change
/// could hide there, for example by other inlining.
fn check_flags(unit: &str, diff: &mut UnitDiff, plain: &[u8], sectioned: &[u8]) {
    diff.refused.extend(flag_refusals(unit, diff, plain, sectioned, &|name| name.to_owned()));
    if !diff.refused.is_empty() {
        diff.patch = None;
    }
}

/// Refuses when what a build made is not what was compared: the unit was compiled from something that was not
/// recorded.
pub(super) fn check_built(unit: &str, diff: &mut UnitDiff, built: &[u8], compared: &[u8]) {
    let Ok(mismatches) = differ::same_code(built, compared) else { return };
    let shipped = |name: &str| diff.functions.iter().any(|c| c.name == name);
    let found: Vec<Refusal> = mismatches
        .iter()
        .filter(|m| !shipped(&m.function))
        .map(|m| Refusal {
            what: "unit that comes out otherwise when it is compiled again".into(),
            place: unit.to_owned(),
            why: format!("{}: {}", m.function, m.detail),
            remedy: "see that the build keeps the files that the unit is compiled from, as they were then"
                .into(),
        })
        .collect();
    if !found.is_empty() {
        diff.refused.extend(found);
        diff.patch = None;
    }
}

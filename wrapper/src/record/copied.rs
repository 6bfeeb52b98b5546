//! Units whose objects objcopy or strip changed afterwards.

use std::collections::HashMap;

use crate::record::unit::{Copied, CopyRecord, UnitRecord};

/// Units again, as what objcopy and strip made of their objects. One that only lost debug information and the
/// like has the code and data of the unit's own object, which has the names too.
pub(crate) fn made_of(units: &[UnitRecord], copies: &[CopyRecord]) -> Vec<UnitRecord> {
    let mut known: HashMap<&str, UnitRecord> = HashMap::new();
    if !copies.is_empty() {
        known.extend(
            units.iter().filter(|unit| !unit.lto).map(|unit| (unit.object_sha256.as_str(), unit.clone())),
        );
    }
    let mut made = Vec::new();
    for copy in copies {
        let Some(mut unit) = known.get(copy.input_sha256.as_str()).cloned() else { continue };
        if known.contains_key(copy.output_sha256.as_str()) {
            continue;
        }
        let compiled = unit.object_sha256.clone();
        let copied =
            unit.copied.get_or_insert_with(|| Copied { compiled_sha256: compiled, passes: Vec::new() });
        if let Some(pass) = &copy.pass {
            copied.passes.push(pass.clone());
            unit.stored = copy.stored.clone();
        }
        unit.object_sha256.clone_from(&copy.output_sha256);
        known.insert(&copy.output_sha256, unit.clone());
        made.push(unit);
    }
    made
}

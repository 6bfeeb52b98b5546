//! Units that gcc's link-time optimiser makes during a link. It parts the whole program into pieces (`lto1 -fwpa`) and calls a driver
//! for each (`gcc -xlto … -fltrans -o X.ltrans0.ltrans.o X.ltrans0.o`), whose assembler is ours (gcc internals, "LTO"). The piece is a
//! temporary file that holds everything its code is made from; with a copy of it the call can be repeated at any time.

use std::path::Path;

use crate::OsBytes;
use crate::assemble::Parent;
use crate::error::Result;
use crate::record::UnitRecord;
use crate::recorder::Recorder;

/// `UnitRecord::language` of such a unit, in the words of `gcc -x`.
pub const LANGUAGE: &str = "lto";

/// Fills in the piece that the driver `parent` compiles to the assembly text `text`.
pub(crate) fn describe(
    recorder: &Recorder,
    unit: &mut UnitRecord,
    parent: &Parent,
    text: &Path,
) -> Result<()> {
    unit.source = text.into();
    unit.language = LANGUAGE.to_owned();
    unit.lto = true;
    let piecewise = parent.expanded.iter().any(|word| word == b"-fltrans");
    let [piece] = &parent.line.sources[..] else {
        unit.not_recompilable = Some(undivided());
        return Ok(());
    };
    if !piecewise {
        unit.not_recompilable = Some(undivided());
        return Ok(());
    }
    let (sha256, kept) = recorder.keep_file("bytecode", &recorder.absolute(&piece.name))?;
    let kept = OsBytes::from(kept);
    // The driver finds out by itself where its passes are; the copy takes the place of the piece.
    unit.expanded_argv = parent
        .expanded
        .iter()
        .map(|word| if *word == piece.name { kept.clone() } else { word.as_slice().into() })
        .collect();
    unit.source = kept.clone();
    unit.deps.push(crate::record::Dep { path: kept, sha256 });
    Ok(())
}

fn undivided() -> String {
    "the whole program was optimised as one piece (-flto-partition=none)".to_owned()
}

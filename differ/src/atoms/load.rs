//! Reads an object and splits it.

use super::atom::Atoms;
use super::code_or_data;
use super::references;
use super::split::split;
use crate::arch;
use crate::elf;
use crate::error::Error;
use crate::model::{KernelOptions, Options};
use crate::profile::Profile;
use crate::reading::Reading;

/// What gcc defines in an object without machine code.
const SLIM: &str = "__gnu_lto_slim";

/// Reads, splits and resolves one object.
pub(crate) fn load<'a>(data: &'a [u8], side: &'static str, opts: &Options) -> Result<Atoms<'a>, Error> {
    load_with(data, side, (opts.profile, &opts.kernel), false)
}

/// Loads a unit for a comparison by place ([`Atoms::by_place`]).
pub(crate) fn load_by_place<'a>(
    data: &'a [u8],
    side: &'static str,
    opts: &Options,
) -> Result<Atoms<'a>, Error> {
    load_with(data, side, (opts.profile, &opts.kernel), true)
}

fn load_with<'a>(
    data: &'a [u8],
    side: &'static str,
    (profile, kernel): (Profile, &KernelOptions),
    by_place: bool,
) -> Result<Atoms<'a>, Error> {
    let unit = elf::read_unit(data, side, Reading::Program)?;
    let Some(arch) = arch::of(unit.machine) else {
        return Err(Error::Unsupported {
            what: format!("ELF machine {} (this version knows {})", unit.machine, arch::known()),
            place: format!("the {side} object"),
        });
    };
    // Bytecode beside machine code ("fat" objects) does not matter here.
    if unit.symbols.iter().any(|s| s.name == SLIM) {
        return Err(Error::Unsupported {
            what: "link-time optimisation: the object holds no machine code".into(),
            place: format!("the {side} object"),
        });
    }
    let mut all = split(unit, arch, profile, kernel);
    all.by_place = by_place;
    references::resolve(&mut all)?;
    code_or_data::tell(&mut all);
    Ok(all)
}

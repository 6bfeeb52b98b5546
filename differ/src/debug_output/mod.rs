//! Converts debug information: from the objects that a patch was made of, into sections for a file beside the
//! patch.
//!
//! Only entries for what is in the patch are converted, with all that these refer to, and variables of the
//! program whose address is known. Linkers write special values for addresses of what they left out, and
//! debuggers differ in what they make of such values. The output has none of them.
//!
//! While an object is read, each allocated section has a range of addresses of its own
//! ([`sections::address`]). A converted address is an address of the image.

mod entries;
mod expressions;
mod lines;
mod needed;
mod placements;
mod sections;

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gimli::write::{ConvertError, Dwarf, EndianVec, Sections};
use gimli::{EndianSlice, LittleEndian};

use crate::model::{Extent, LinkedAddress};
use entries::Converter;
use placements::Placements;
use sections::Object;

/// Bytes of an object's sections.
type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A patched object, and where its pieces are.
#[derive(Clone, Copy, Debug)]
pub struct DebugUnit<'a> {
    /// The object that was compared.
    pub object: &'a [u8],
    /// The address of each piece that is in the patch or in the program.
    pub placements: &'a [(Extent, LinkedAddress)],
}

/// Debug information for a patch.
#[derive(Clone, Debug, Default)]
pub struct DebugSections {
    /// Names and contents of the sections (DWARF 5, 7.1; or of the version that the units have). Empty if
    /// there is nothing to tell.
    pub sections: Vec<(&'static str, Vec<u8>)>,
    /// Units whose debug information could not be converted, by index, and why.
    pub left_out: Vec<(usize, String)>,
}

/// Joins the debug information of some units into one set of sections.
///
/// `bias`: the address in the image of the word that holds the load bias of the target. Variables of the
/// program are found by it. `renamed` gives the path to write for a path that an object has, if it is to be
/// another path.
pub fn debug_sections(
    units: &[DebugUnit<'_>],
    bias: u64,
    renamed: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> DebugSections {
    let mut out = DebugSections::default();
    let mut objects = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        match Object::read(unit.object) {
            Ok(Some(object)) => objects.push((index, object, Placements::new(unit.placements))),
            Ok(None) => {}
            Err(why) => out.left_out.push((index, why)),
        }
    }
    // What was converted of a unit before it failed cannot be taken back. So everything is converted once
    // more without that unit.
    loop {
        match join(&objects, bias, renamed) {
            Ok(sections) => {
                out.sections = sections;
                out.left_out.sort();
                return out;
            }
            Err((Some(bad), why)) => {
                let (index, ..) = objects.remove(bad);
                out.left_out.push((index, why));
            }
            Err((None, why)) => {
                out.left_out.extend(objects.drain(..).map(|(index, ..)| (index, why.clone())));
            }
        }
    }
}

/// Why the conversion failed, and at which object, if that is known.
type Failure = (Option<usize>, String);

fn join(
    objects: &[(usize, Object<'_>, Placements)],
    bias: u64,
    renamed: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
    let mut dwarf = Dwarf::new();
    for (at, (_, object, placements)) in objects.iter().enumerate() {
        let converter = Converter { object, placements, bias, renamed };
        guarded(|| add(&mut dwarf, &converter)).map_err(|why| (Some(at), why))?;
    }
    let mut sections = Sections::new(EndianVec::new(LittleEndian));
    guarded(|| dwarf.write(&mut sections)).map_err(|why| (None, why))?;
    let mut out = Vec::new();
    sections.for_each_mut(|id, data| -> Result<(), Failure> {
        let data = data.take();
        if !data.is_empty() {
            out.push((id.name(), data));
        }
        Ok(())
    })?;
    Ok(out)
}

/// The library asserts what holds for debug information as compilers write it. An object that breaks such an
/// assertion must not stop the patch.
fn guarded<E: Display>(convert: impl FnOnce() -> Result<(), E>) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(convert)) {
        Ok(done) => done.map_err(|e| e.to_string()),
        Err(_) => Err("it is not as compilers write it".to_owned()),
    }
}

fn add(dwarf: &mut Dwarf, converter: &Converter<'_>) -> Result<(), ConvertError> {
    let from = converter.object.dwarf()?;
    let needed = needed::needed(converter, &from)?;
    let mut needed = needed.into_iter().peekable();
    let mut convert = dwarf.convert(&from)?;
    while let Some((mut unit, root)) = convert.read_unit()? {
        converter.unit(&mut unit, root, &mut needed)?;
    }
    Ok(())
}

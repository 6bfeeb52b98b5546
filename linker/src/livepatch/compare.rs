//! Compares a function of a unit with the bytes at an address of the shipped object.
//!
//! The shipped file holds what compiler and linker wrote: alternatives, static calls and returns are changed
//! in memory, as the kernel starts. `objtool` changes one thing in the code of an object, before it is
//! linked: jumps of static keys become nops of the same length. So all other bytes are the same, and every
//! field leads to what it names.

use std::collections::HashSet;

use super::original::{Field, Original, Piece, Target};
use super::shipped::Shipped;
use crate::arch::kernel as machine;
use crate::elf::{PlainPlace, SHF_WRITE, STB_WEAK};

/// Where two pieces differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) offset: u64,
    pub(super) detail: String,
}

/// Symbols whose addresses the fields of a piece tell.
pub(super) type Observed = Vec<(usize, u64)>;

/// Bytes that a message shows.
const SHOWN: usize = 8;

pub(super) struct Comparison<'a> {
    original: &'a Original,
    shipped: Shipped<'a>,
    /// Constants that were compared, or are in the list.
    constants: HashSet<(Piece, u64)>,
    todo: Vec<Constant>,
    /// Where the function refers to what is being compared.
    of: u64,
    observed: Observed,
}

/// Compares `piece` with what is at `address`.
pub(super) fn compare(
    original: &Original,
    shipped: Shipped<'_>,
    piece: Piece,
    address: u64,
) -> Result<Observed, Difference> {
    let mut comparison = Comparison {
        original,
        shipped,
        constants: HashSet::new(),
        todo: Vec::new(),
        of: 0,
        observed: Vec::new(),
    };
    comparison.piece(piece, address, None)?;
    while let Some(Constant { piece, address, name, of }) = comparison.todo.pop() {
        comparison.piece(piece, address, Some(of)).map_err(|d| Difference {
            offset: of,
            detail: format!("constant `{name}`+{:#x}: {}", d.offset, d.detail),
        })?;
    }
    Ok(comparison.observed)
}

/// A constant that a piece refers to.
struct Constant {
    piece: Piece,
    address: u64,
    name: String,
    /// Where the function refers to the constant, or to data that refers to it.
    of: u64,
}

impl Comparison<'_> {
    fn piece(&mut self, piece: Piece, address: u64, of: Option<u64>) -> Result<(), Difference> {
        let differs = |offset: u64, detail: String| Difference { offset, detail };
        let here = self.original.content(piece).unwrap_or_default();
        let there = self.shipped.bytes(address, here.len() as u64);
        let there = there.ok_or_else(|| differs(0, "nothing is there".to_owned()))?;
        let fields = self
            .original
            .fields(piece)
            .map_err(|(offset, kind)| differs(offset, format!("a relocation of type {kind} is not known")))?;
        let open = self.shipped.open_fields(address, piece.size);
        if let Some(more) = open.iter().find(|o| !fields.iter().any(|f| f.offset - piece.start == **o)) {
            return Err(differs(*more, "a reference that is only there".to_owned()));
        }
        let mut fields = fields.iter().peekable();
        let mut at = 0;
        while at < here.len() {
            let offset = at as u64;
            if let Some(field) = fields.next_if(|f| f.offset - piece.start == offset) {
                self.of = of.unwrap_or(offset);
                self.field(field, address.wrapping_add(offset)).map_err(|detail| differs(offset, detail))?;
                at += usize::try_from(field.width).unwrap_or(here.len());
                continue;
            }
            if let Some(nop) = self.nop_for(here, at, piece) {
                if there.get(at..at + nop.len()) != Some(nop) {
                    return Err(differs(offset, shown(nop, there.get(at..).unwrap_or_default())));
                }
                let end = offset + nop.len() as u64;
                while fields.next_if(|f| f.offset - piece.start < end).is_some() {}
                at += nop.len();
                continue;
            }
            if here[at] != there[at] {
                return Err(differs(offset, shown(&here[at..], &there[at..])));
            }
            at += 1;
        }
        Ok(())
    }

    /// What `objtool` made of the jump at this place, if it belongs to a static key.
    fn nop_for(&self, here: &[u8], at: usize, piece: Piece) -> Option<&'static [u8]> {
        if !self.original.is_nop(piece.section, piece.start + at as u64) {
            return None;
        }
        machine::nop_for_jump(*here.get(at)?)
    }

    fn field(&mut self, field: &Field, address: u64) -> Result<(), String> {
        let to = self.shipped.leads_to(address, field).ok_or("no reference is there")?;
        match field.target {
            Target::Symbol(symbol, distance) => {
                self.symbol(symbol, distance, to.wrapping_sub(distance.cast_unsigned()))
            }
            Target::Place(section, offset) => self.unnamed(section, offset, to),
        }
    }

    /// A reference that should lead to the start of `symbol`, at `address`.
    fn symbol(&mut self, symbol: usize, distance: i64, address: u64) -> Result<(), String> {
        let named = &self.original.object.symbols[symbol];
        let there = self.shipped.named(&named.name);
        if there.contains(&address) {
            self.observed.push((symbol, address));
            if let Some(piece) = self.original.piece(symbol) {
                self.constant(piece, address, &named.name);
            }
            return Ok(());
        }
        if there.is_empty() {
            match named.place {
                // Of some symbols the kernel keeps no name.
                PlainPlace::Section(section) => {
                    let offset = named.value.cast_signed().wrapping_add(distance);
                    return self.unnamed(section, offset, address.wrapping_add(distance.cast_unsigned()));
                }
                PlainPlace::Undefined if named.binding == STB_WEAK && address == 0 => return Ok(()),
                PlainPlace::Undefined | PlainPlace::Reserved(_) => {}
            }
            return Err(format!(
                "`{}` is not there; it leads to {}",
                named.name,
                self.shipped.names(address)
            ));
        }
        Err(format!("it leads to `{}` here, to {} there", named.name, self.shipped.names(address)))
    }

    /// A reference to a place without a name, which should be at `address`.
    fn unnamed(&mut self, section: usize, offset: i64, address: u64) -> Result<(), String> {
        let Some(content) = self.original.section(section) else { return Ok(()) };
        let start = usize::try_from(offset).ok();
        if content.is_strings() {
            let rest =
                start.and_then(|start| content.data.get(start..)).ok_or("it leads out of its section")?;
            let here = memchr::memchr(0, rest).and_then(|end| rest.get(..end)).unwrap_or(rest);
            let there = self.shipped.string(address).unwrap_or_default();
            if here == there {
                return Ok(());
            }
            let text = String::from_utf8_lossy;
            return Err(format!("a string is \"{}\" here, \"{}\" there", text(here), text(there)));
        }
        if !content.is_constant() || content.has(SHF_WRITE) && content.name.starts_with(".data") {
            return Ok(());
        }
        // Of constants that are merged one alone is meant, else all that is in the section.
        let piece = if content.entry_size > 0 && content.has(crate::elf::SHF_MERGE) {
            let start = u64::try_from(offset).map_err(|_| "it leads out of its section")?;
            (Piece { section, start, size: content.entry_size }, address)
        } else {
            let whole = Piece { section, start: 0, size: content.size };
            (whole, address.wrapping_sub(offset.cast_unsigned()))
        };
        self.constant(piece.0, piece.1, &content.name);
        Ok(())
    }

    /// Has a constant compared, once.
    fn constant(&mut self, piece: Piece, address: u64, name: &str) {
        let constant = self.original.section(piece.section).is_some_and(|s| s.is_constant());
        if constant && self.constants.insert((piece, address)) {
            self.todo.push(Constant { piece, address, name: name.to_owned(), of: self.of });
        }
    }
}

fn shown(here: &[u8], there: &[u8]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().take(SHOWN).map(|b| format!("{b:02x}")).collect::<String>();
    format!("{} here, {} there", hex(here), hex(there))
}

//! Makes the parts of a patch module: plain relocatable objects, which Kbuild links.

use differ::{PatchSection, PatchSymbol, SectionKind, SymbolPlace, SymbolType};

use super::names::Names;
use super::plan::{Goal, Plan, PlannedUnit};
use super::static_calls::{StaticCall, static_call};
use super::tables::{is_part_of, is_table};
use super::unit::{KernelContext, KernelUnit, PartObject, Parts, Reference, ReplacedFunction};
use crate::arch::kernel as machine;
use crate::elf::{
    PlainPlace, PlainSection, PlainSymbol, Rela, Relocatable, SHF_ALLOC, SHF_MERGE, SHF_STRINGS, SHF_WRITE,
    SHT_NOBITS, SHT_PROGBITS, STB_LOCAL, STB_WEAK, STT_FUNC, STT_OBJECT, STT_SECTION,
};
use crate::error::LinkError;

const STB_GLOBAL: u8 = 1;
const STT_NOTYPE: u8 = 0;
const SHF_GROUP: u64 = 0x200;
const PER_CPU: &str = ".data..percpu";
/// Size and alignment of an entry of `.static_call_sites`.
const STATIC_CALL: (u64, u64) = (8, 4);

/// Makes a part of the patch module of each unit, which Kbuild links together with the code that registers
/// the patch.
///
/// # Errors
/// [`LinkError::NoRoom`] where nothing stands against the patch but replaced functions that the kernel does
/// not trace, so that no live patch can redirect them: it might do to replace their callers.
/// [`LinkError::Refused`] with every reason; [`LinkError::Elf`] for a damaged file.
pub fn parts(units: &[KernelUnit<'_>], context: &KernelContext<'_>) -> Result<Parts, LinkError> {
    let plan = Plan::make(units, context)?;
    let names = Names::give(&plan);
    let mut objects = Vec::new();
    for (number, unit) in plan.units.iter().enumerate() {
        let object = part(number, unit, &names)?;
        let bad = |why: String| LinkError::Inconsistent(format!("part of {}: {why}", unit.unit.name));
        objects.push(PartObject { unit: unit.unit.name.to_owned(), bytes: object.to_bytes().map_err(bad)? });
    }
    let functions = plan.units.iter().enumerate().flat_map(|(number, unit)| {
        let names = &names;
        unit.replaced.iter().map(move |replaced| ReplacedFunction {
            object: unit.unit.object.clone(),
            old_name: replaced.old.name.clone(),
            sympos: replaced.old.sympos,
            new_symbol: names.defined(
                number,
                replaced.symbol,
                &unit.unit.patch.symbols[replaced.symbol].name,
            ),
        })
    });
    let references = names.references().map(|(meaning, symbol)| Reference {
        symbol: symbol.to_owned(),
        object: meaning.object.clone(),
        name: meaning.name.clone(),
        sympos: meaning.sympos,
        way: meaning.way(),
    });
    Ok(Parts { functions: functions.collect(), references: references.collect(), objects })
}

/// What a part is put together of: the symbol table grows with what is referred to.
struct Maker<'a> {
    number: usize,
    unit: &'a PlannedUnit<'a>,
    names: &'a Names,
    object: Relocatable,
    /// The place of each symbol of the patch object in the part, if it is defined.
    own: Vec<usize>,
}

fn part(number: usize, unit: &PlannedUnit<'_>, names: &Names) -> Result<Relocatable, LinkError> {
    let object =
        Relocatable { machine: machine::MACHINE, header_flags: 0, sections: Vec::new(), symbols: Vec::new() };
    let mut maker = Maker { number, unit, names, object, own: Vec::new() };
    maker.object.sections = unit.unit.patch.sections.iter().map(plain_section).collect();
    maker.section_symbols();
    maker.own_symbols();
    maker.relocate()?;
    let calls = unit.static_calls.clone();
    maker.add_static_calls(&calls);
    maker.object.sections.push(note());
    Ok(maker.object)
}

impl Maker<'_> {
    /// The symbol of section N is symbol N.
    fn section_symbols(&mut self) {
        for section in 0..self.object.sections.len() {
            self.object.symbols.push(section_symbol(section));
        }
    }

    fn own_symbols(&mut self) {
        let patch = self.unit.unit.patch;
        for (index, symbol) in patch.symbols.iter().enumerate() {
            let SymbolPlace::Defined { section, offset, size, .. } = &symbol.place else {
                self.own.push(usize::MAX);
                continue;
            };
            if symbol.stype == SymbolType::Section {
                self.own.push(*section);
                continue;
            }
            self.own.push(self.object.symbols.len());
            let replaces = self.unit.replaced.iter().any(|r| r.symbol == index);
            self.object.symbols.push(PlainSymbol {
                name: self.names.defined(self.number, index, &symbol.name),
                value: *offset,
                size: *size,
                kind: kind(symbol),
                binding: if replaces { STB_GLOBAL } else { binding(symbol) },
                other: 0,
                place: PlainPlace::Section(*section),
            });
        }
    }

    fn relocate(&mut self) -> Result<(), LinkError> {
        let patch = self.unit.unit.patch;
        for (index, section) in patch.sections.iter().enumerate() {
            let mut list = Vec::new();
            for (rela, goal) in section.relocations.iter().zip(&self.unit.goals[index]) {
                let (symbol, shift) = self.symbol_for(goal)?;
                let addend = rela.addend.wrapping_add(shift);
                let (symbol, addend) = self.as_compiled(symbol, addend, &section.name);
                list.push(Rela { offset: rela.offset, kind: rela.r_type, symbol, addend });
            }
            self.object.sections[index].relocations = list;
        }
        Ok(())
    }

    /// As an assembler writes it: what is inside of a function, or listed, is a place in its section.
    /// `objtool` takes a jump to a function symbol for a call.
    fn as_compiled(&self, symbol: usize, addend: i64, section: &str) -> (usize, i64) {
        let named = &self.object.symbols[symbol];
        let PlainPlace::Section(target) = named.place else { return (symbol, addend) };
        let to_start = addend == 0 || addend == -machine::TO_NEXT.cast_signed();
        if named.kind != STT_FUNC || to_start && !is_table(section) {
            return (symbol, addend);
        }
        (target, addend.wrapping_add_unsigned(named.value))
    }

    /// The symbol of the part, and what is to be added to the addend.
    fn symbol_for(&mut self, goal: &Goal) -> Result<(usize, i64), LinkError> {
        let inconsistent = || LinkError::Inconsistent("a relocation without a symbol".to_owned());
        Ok(match goal {
            Goal::Own(symbol) => {
                let at = *self.own.get(*symbol).filter(|at| **at != usize::MAX).ok_or_else(inconsistent)?;
                let patch_symbol = &self.unit.unit.patch.symbols[*symbol];
                let shift = match &patch_symbol.place {
                    SymbolPlace::Defined { offset, .. } if patch_symbol.stype == SymbolType::Section => {
                        i64::try_from(*offset).map_err(|_| inconsistent())?
                    }
                    _ => 0,
                };
                (at, shift)
            }
            Goal::Unit { unit, symbol, name } => {
                let name = self.names.defined(*unit, *symbol, name);
                (self.undefined(&name, STB_GLOBAL), 0)
            }
            Goal::Shipped(meaning) => {
                let name = self.names.reference(meaning).ok_or_else(inconsistent)?.to_owned();
                (self.undefined(&name, STB_GLOBAL), 0)
            }
            Goal::Beside(meaning, distance) => {
                let name = self.names.reference(meaning).ok_or_else(inconsistent)?.to_owned();
                (self.undefined(&name, STB_GLOBAL), *distance)
            }
            Goal::Nothing(name) => (self.undefined(name, STB_WEAK), 0),
        })
    }

    fn undefined(&mut self, name: &str, binding: u8) -> usize {
        let symbols = &mut self.object.symbols;
        let known = symbols.iter().position(|s| s.place == PlainPlace::Undefined && s.name == name);
        known.unwrap_or_else(|| {
            symbols.push(PlainSymbol {
                name: name.to_owned(),
                value: 0,
                size: 0,
                kind: STT_NOTYPE,
                binding,
                other: 0,
                place: PlainPlace::Undefined,
            });
            symbols.len() - 1
        })
    }

    /// The list of static calls. `objtool` leaves one alone that is there; its own refers to the trampoline,
    /// by which a module finds the key only if that is exported.
    fn add_static_calls(&mut self, calls: &[(usize, u64, StaticCall)]) {
        if calls.is_empty() {
            return;
        }
        let mut list = Vec::new();
        for (at, (section, site, call)) in (0..).step_by(8).zip(calls) {
            let Ok((key, shift)) = self.symbol_for(&call.key) else { continue };
            let site = i64::try_from(*site).unwrap_or_default();
            list.push(static_call::site(at, *section, site));
            list.push(static_call::key(at, key, call.is_tail, shift));
        }
        let size = STATIC_CALL.0 * calls.len() as u64;
        self.object.symbols.push(section_symbol(self.object.sections.len()));
        self.object.sections.push(PlainSection {
            name: ".static_call_sites".to_owned(),
            kind: SHT_PROGBITS,
            flags: SHF_ALLOC | SHF_WRITE,
            align: STATIC_CALL.1,
            entry_size: STATIC_CALL.0,
            link: 0,
            data: vec![0; 8 * calls.len()],
            size,
            relocations: list,
            further: Vec::new(),
        });
    }
}

fn section_symbol(section: usize) -> PlainSymbol {
    let place = PlainPlace::Section(section);
    PlainSymbol {
        name: String::new(),
        value: 0,
        size: 0,
        kind: STT_SECTION,
        binding: STB_LOCAL,
        other: 0,
        place,
    }
}

fn plain_section(section: &PatchSection) -> PlainSection {
    let is_zero = section.kind == SectionKind::Bss;
    // Modules have one section of per-CPU data; the kernel itself sorts its own into several.
    let name = if is_part_of(&section.name, PER_CPU) { PER_CPU } else { &section.name };
    PlainSection {
        name: name.to_owned(),
        kind: if is_zero { SHT_NOBITS } else { SHT_PROGBITS },
        flags: section.flags & !(SHF_GROUP | SHF_MERGE | SHF_STRINGS),
        align: section.align.max(1),
        entry_size: 0,
        link: 0,
        data: section.data.clone(),
        size: section.size,
        relocations: Vec::new(),
        further: Vec::new(),
    }
}

/// Says that no stack need be executable.
fn note() -> PlainSection {
    PlainSection {
        name: ".note.GNU-stack".to_owned(),
        kind: SHT_PROGBITS,
        flags: 0,
        align: 1,
        entry_size: 0,
        link: 0,
        data: Vec::new(),
        size: 0,
        relocations: Vec::new(),
        further: Vec::new(),
    }
}

fn kind(symbol: &PatchSymbol) -> u8 {
    match symbol.stype {
        SymbolType::Function | SymbolType::IFunc => STT_FUNC,
        SymbolType::Object => STT_OBJECT,
        SymbolType::Section => STT_SECTION,
        SymbolType::None | SymbolType::Tls => STT_NOTYPE,
    }
}

fn binding(symbol: &PatchSymbol) -> u8 {
    match symbol.binding {
        differ::Binding::Local => STB_LOCAL,
        differ::Binding::Weak => STB_WEAK,
        differ::Binding::Global | differ::Binding::Unique => STB_GLOBAL,
    }
}

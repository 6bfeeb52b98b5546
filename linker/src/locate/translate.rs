//! From addresses of the linked file to those of the target that is in service.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use differ::Refusal;

use crate::arch::{self, Instruction, Machine, Value};
use crate::elf::{
    ElfFile, ParsedElf, SHF_ALLOC, SHF_EXECINSTR, SHN_ABS, STB_LOCAL, STT_FILE, Section, Symbol,
};
use crate::error::{LinkError, refusal};
use crate::locate::same_code::SameCode;

/// A symbol of the linked file.
#[derive(Clone, Copy, Debug)]
pub struct LinkedSymbol<'a> {
    /// Name in its unit.
    pub name: &'a str,
    /// Source file (`STT_FILE`) of a local symbol, else empty.
    pub file: &'a str,
    /// Link-time address in the linked file; of a thread-local variable its offset in the TLS segment.
    pub address: u64,
    /// Size in bytes, 0 if not known.
    pub size: u64,
    /// Code?
    pub function: bool,
}

/// Addresses of the target.
pub trait TargetAddresses: std::fmt::Debug {
    /// Address in the target of a symbol of the linked file.
    ///
    /// # Errors
    /// Where the symbol cannot be found for certain, or is not the same there.
    fn translate(&self, symbol: LinkedSymbol<'_>) -> Result<u64, Refusal>;

    /// Bytes from a function of the target to the next thing that is known to be there; 0 if that is not
    /// known. `linked`: the same for the function in the linked file.
    fn reach(&self, address: u64, linked: Option<u64>) -> u64;
}

/// The linked file and the target have the same code at the same addresses.
#[derive(Clone, Copy, Debug)]
pub struct SameLayout;

impl TargetAddresses for SameLayout {
    fn translate(&self, symbol: LinkedSymbol<'_>) -> Result<u64, Refusal> {
        Ok(symbol.address)
    }

    fn reach(&self, _address: u64, linked: Option<u64>) -> u64 {
        linked.unwrap_or(0)
    }
}

/// Same addresses if every loaded section lies where it did and the code is the same, byte for byte; else by
/// symbol, or, in a stripped target, by what its code refers to.
///
/// # Errors
/// When a file is damaged.
pub fn addresses<'a>(
    linked: &ParsedElf<'a>,
    target: &ParsedElf<'a>,
    debug: Option<&'a [u8]>,
) -> Result<Box<dyn TargetAddresses + 'a>, LinkError> {
    let (linked, target) = (linked.0.clone(), target.0.clone());
    let machine = arch::of_file(&linked, "linked ELF")?;
    arch::of_file(&target, "target ELF")?;
    let loaded = |elf: &ElfFile<'_>| -> Vec<(String, u64, u64)> {
        let sections = elf.sections.iter().filter(|s| s.flags & SHF_ALLOC != 0);
        sections.map(|s| (s.name.clone(), s.address, s.size)).collect()
    };
    let code = |elf: &ElfFile<'a>| -> Vec<&'a [u8]> {
        elf.sections.iter().filter(|s| s.flags & SHF_EXECINSTR != 0).map(|s| elf.content(s)).collect()
    };
    if loaded(&linked) == loaded(&target) && code(&linked) == code(&target) {
        return Ok(Box::new(SameLayout));
    }
    let debug = debug.map(|d| ElfFile::parse(d, "debug information")).transpose()?;
    if debug.is_none()
        && target.symbols.is_empty()
        && let Some(same) = SameCode::new(machine, &linked, &target)
    {
        return Ok(Box::new(same));
    }
    Ok(Box::new(BySymbol::new(machine, linked, target, debug)))
}

/// What the patch relies on: a symbol of the rebuilt file, and where it is taken to be in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Name.
    pub name: String,
    /// Link-time address in the rebuilt file.
    pub linked: u64,
    /// Link-time address in the target.
    pub target: u64,
    /// The patch replaces it.
    pub replaced: bool,
}

/// Notes which addresses were asked for: what the patch relies on.
#[derive(Debug)]
pub struct UsedAddresses<'a> {
    inner: &'a dyn TargetAddresses,
    used: RefCell<Vec<Used>>,
}

impl<'a> UsedAddresses<'a> {
    /// Notes the addresses that `inner` is asked for.
    pub fn new(inner: &'a dyn TargetAddresses) -> Self {
        Self { inner, used: RefCell::default() }
    }

    /// What was asked for. `replaced`: addresses in the target of the functions that the patch redirects.
    pub fn used(&self, replaced: impl IntoIterator<Item = u64>) -> Vec<Used> {
        let replaced: HashSet<u64> = replaced.into_iter().collect();
        let mut used = self.used.borrow().clone();
        used.iter_mut().for_each(|u| u.replaced = replaced.contains(&u.target));
        used
    }
}

impl TargetAddresses for UsedAddresses<'_> {
    fn translate(&self, symbol: LinkedSymbol<'_>) -> Result<u64, Refusal> {
        let target = self.inner.translate(symbol)?;
        let one = Used { name: symbol.name.to_owned(), linked: symbol.address, target, replaced: false };
        let mut used = self.used.borrow_mut();
        if !used.contains(&one) {
            used.push(one);
        }
        Ok(target)
    }

    fn reach(&self, address: u64, linked: Option<u64>) -> u64 {
        self.inner.reach(address, linked)
    }
}

/// The target was linked apart: symbols are found by name, source file and size, and compared.
#[derive(Debug)]
struct BySymbol<'a> {
    machine: &'static dyn Machine,
    linked: ElfFile<'a>,
    target: ElfFile<'a>,
    /// Whose symbols: the target's own or its debug file's.
    symbols: Vec<Symbol>,
    /// Are those all symbols, and not only the dynamic ones?
    complete: bool,
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> BySymbol<'a> {
    fn new(
        machine: &'static dyn Machine,
        linked: ElfFile<'a>,
        target: ElfFile<'a>,
        debug: Option<ElfFile<'a>>,
    ) -> Self {
        let own = !target.symbols.is_empty();
        let complete = own || debug.as_ref().is_some_and(|d| !d.symbols.is_empty());
        let symbols = match debug {
            Some(debug) if !own => debug.symbols.clone(),
            _ if own => target.symbols.clone(),
            _ => target.dynamic_symbols.clone(),
        };
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, symbol) in symbols.iter().enumerate() {
            if symbol.is_defined() && symbol.kind != STT_FILE && symbol.reserved != SHN_ABS {
                let name = symbol.name.split('@').next().unwrap_or_default();
                by_name.entry(name.to_owned()).or_default().push(index);
            }
        }
        Self { machine, linked, target, symbols, complete, by_name }
    }

    fn file(&self, symbol: &Symbol) -> &str {
        symbol.file.and_then(|i| self.symbols.get(i)).map_or("", |f| f.name.as_str())
    }
}

impl TargetAddresses for BySymbol<'_> {
    fn translate(&self, symbol: LinkedSymbol<'_>) -> Result<u64, Refusal> {
        let refuse = |why: String| {
            refusal(
                "address in the target not certain",
                symbol.name,
                why,
                "give the debuginfo package of exactly this build (`--debuginfo`), or build the patch in the \
                 environment that \
                 the target was built in",
            )
        };
        let indices = self.by_name.get(symbol.name).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<u64> = indices
            .iter()
            .filter_map(|i| self.symbols.get(*i))
            .filter(|s| symbol.size == 0 || s.size == 0 || s.size == symbol.size)
            .filter(|s| s.binding != STB_LOCAL || symbol.file.is_empty() || self.file(s) == symbol.file)
            .map(|s| s.value)
            .collect();
        found.sort_unstable();
        found.dedup();
        if symbol.function && found.len() > 1 {
            found.retain(|at| self.differs(symbol, *at).is_none());
        }
        let &[address] = found.as_slice() else {
            return Err(refuse(match found.len() {
                0 => "the target's symbols have none of this name, source file and size".to_owned(),
                n => format!("the target's symbols have {n} of this name, source file and size"),
            }));
        };
        match symbol.function.then(|| self.differs(symbol, address)).flatten() {
            Some(why) => Err(refuse(format!("the target's code differs from the rebuilt one: {why}"))),
            None => Ok(address),
        }
    }

    fn reach(&self, address: u64, _linked: Option<u64>) -> u64 {
        if !self.complete {
            return 0;
        }
        let within =
            |s: &&Section| s.flags & SHF_EXECINSTR != 0 && (s.address..s.address + s.size).contains(&address);
        let Some(section) = self.target.sections.iter().find(within) else { return 0 };
        let starts = self.symbols.iter().filter(|s| s.is_defined() && s.kind != STT_FILE).map(|s| s.value);
        let end = section.address + section.size;
        starts.filter(|v| (address + 1..end).contains(v)).min().unwrap_or(end) - address
    }
}

impl BySymbol<'_> {
    /// First difference between the function here and there, instruction by instruction; addresses aside.
    fn differs(&self, symbol: LinkedSymbol<'_>, there: u64) -> Option<String> {
        let size = usize::try_from(symbol.size).unwrap_or(usize::MAX);
        let (ours, theirs) = (self.linked.bytes_from(symbol.address), self.target.bytes_from(there));
        let (Some(ours), Some(theirs)) = (ours.get(..size), theirs.get(..size)) else {
            return Some("it reaches beyond the file".to_owned());
        };
        let pairs =
            self.machine.instructions(ours, symbol.address).zip(self.machine.instructions(theirs, there));
        for (x, y) in pairs {
            if !same_instruction(&x, &y, symbol, there, [&self.linked, &self.target]) {
                let (here, there) = (self.machine.text(&x), self.machine.text(&y));
                return Some(format!("at +{:#x}: `{here}` here, `{there}` there", x.at - symbol.address));
            }
        }
        None
    }
}

/// Does the instruction `y` of the target do what `x` does? Addresses may be others: whether what is there is
/// the same, the comparison of the files shows.
pub(crate) fn same_instruction(
    x: &Instruction<'_>,
    y: &Instruction<'_>,
    symbol: LinkedSymbol<'_>,
    there: u64,
    elfs: [&ElfFile<'_>; 2],
) -> bool {
    let operands = || x.operands.iter().flatten();
    if x.opcode != y.opcode
        || x.bytes.len() != y.bytes.len()
        || x.without(operands()) != y.without(operands())
    {
        return false;
    }
    let inside = |address: u64| address.wrapping_sub(symbol.address) < symbol.size;
    let in_elf = |elf: &ElfFile<'_>, v: u64| {
        elf.segments
            .iter()
            .any(|s| s.kind == crate::elf::PT_LOAD && v >= s.address.max(1) && v - s.address < s.size)
    };
    // Offsets of thread-local variables: from the thread pointer, below which they lie, or among those of a
    // library.
    let in_thread = |elf: &ElfFile<'_>, v: u64| {
        let size = |s: &crate::elf::Segment| s.size.checked_next_multiple_of(s.align.max(1)).unwrap_or(0);
        let distance = v.cast_signed().unsigned_abs();
        elf.segments.iter().any(|s| s.kind == crate::elf::PT_TLS && distance <= size(s))
    };
    // An absolute address (position-dependent code) or the place of a thread-local variable may be another
    // one: whether what is there is the same, the comparison with the target shows.
    let address_or_same = |a: u64, b: u64| {
        a == b || in_elf(elfs[0], a) && in_elf(elfs[1], b) || in_thread(elfs[0], a) && in_thread(elfs[1], b)
    };
    x.operands.iter().zip(&y.operands).all(|(a, b)| match (a.map(|a| a.value), b.map(|b| b.value)) {
        (None, None) => true,
        (Some(Value::Branch(a)), Some(Value::Branch(b))) => {
            !inside(a) || a.wrapping_sub(symbol.address) == b.wrapping_sub(there)
        }
        (Some(Value::Data(_)), Some(Value::Data(_))) => true,
        (
            Some(Value::Displacement { value: a, .. } | Value::Immediate(a)),
            Some(Value::Displacement { value: b, .. } | Value::Immediate(b)),
        ) => address_or_same(a, b),
        _ => false,
    })
}

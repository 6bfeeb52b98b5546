//! Call frame information: how to get from a frame to its caller (LSB "Exception Frames", DWARF 5 §6.4).

use super::{cache, elf, identity, maps::Mapping, memory::Memory, modules::Module};
use crate::arch::unwind::{COUNT, RETURN, SP, VENDOR, is_kept};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice, LittleEndian, Pointer,
    RegisterRule, UnwindSection,
};
use std::{collections::HashMap, sync::Arc};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// How one register of the caller is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It cannot be.
    Unknown,
    /// Explicitly nowhere; of the return address: this frame has no caller.
    Undefined,
    /// As in this frame.
    Same,
    /// In memory at CFA + n.
    At(i64),
    /// CFA + n.
    Value(i64),
    /// In another register.
    Register(usize),
    /// In memory at the result of an expression.
    AtExpression(Vec<u8>),
    /// The result of an expression.
    Expression(Vec<u8>),
}

/// How the canonical frame address is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cfa {
    /// Register + n.
    Register(usize, i64),
    /// Result of an expression.
    Expression(Vec<u8>),
}

/// The rules that hold at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub cfa: Cfa,
    pub rules: [Rule; COUNT],
    /// Frame of a signal handler's return: the caller was interrupted, it did not call.
    pub signal: bool,
}

/// Unwind tables of one module or patch image.
#[derive(Debug)]
struct Table {
    start: u64,
    end: u64,
    index: Index,
    /// What addresses below (and in the tables) differ by from those in the process: the load bias, or
    /// nothing.
    shift: u64,
    address: u64,
    bytes: Arc<[u8]>,
    /// First instruction of a program: nothing called it, even where no table says so.
    entry: u64,
}

/// How an entry is found.
#[derive(Debug)]
enum Index {
    /// Address and bytes of `.eh_frame_hdr`, which is made for binary search.
    Header(u64, Arc<[u8]>),
    /// Our own: first address, address after the last, offset in the section; in order.
    Own(Vec<(u64, u64, usize)>),
}

/// Unwind tables of all modules, with what was looked up already.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: Vec<Table>,
    rows: HashMap<u64, Option<Row>>,
}

/// Longest `.eh_frame` read, in bytes. Chromium has 40 MB.
const LIMIT: u64 = 256 << 20;

impl Tables {
    /// Knows this range already?
    pub(crate) fn covers(&self, address: u64) -> bool {
        self.tables.iter().any(|t| (t.start..t.end).contains(&address))
    }

    /// Reads the tables of a module. A module without usable tables is left out: its frames are then unknown.
    pub(crate) fn add_module(&mut self, module: &Module, memory: &Memory, pid: i32, maps: &[Mapping]) {
        let table =
            read_by_header(module, memory, pid, maps).or_else(|| read_by_section(module, memory, pid, maps));
        self.tables.extend(table);
        self.rows.clear();
    }

    /// Reads the tables of a patch image.
    pub(crate) fn add_image(&mut self, start: u64, end: u64, eh_frame: u64, memory: &Memory) {
        let len = usize::try_from(end.saturating_sub(eh_frame)).unwrap_or(0);
        if let Ok(bytes) = memory.read(eh_frame, len) {
            let (index, bytes) = (Index::Own(index(eh_frame, &bytes)), bytes.into());
            let (shift, address, entry) = (0, eh_frame, u64::MAX);
            self.tables.push(Table { start, end, index, shift, address, bytes, entry });
            self.rows.clear();
        }
    }

    /// The rules at `pc`, or `None` where there are none.
    pub(crate) fn row(&mut self, pc: u64) -> Option<&Row> {
        let tables = &self.tables;
        let look_up = || tables.iter().find(|t| (t.start..t.end).contains(&pc)).and_then(|t| t.row(pc));
        self.rows.entry(pc).or_insert_with(look_up).as_ref()
    }

    /// Is `pc` in the first instructions of a program that has no unwind information there (musl's `_start`)?
    pub(crate) fn is_start(&self, pc: u64) -> bool {
        self.tables.iter().any(|t| pc > t.entry && pc - t.entry < 64)
    }
}

fn read_by_header(module: &Module, memory: &Memory, pid: i32, maps: &[Mapping]) -> Option<Table> {
    let header = module.of_kind(elf::EH_FRAME).next()?;
    let shift = shift(module, header.address);
    let header_address = module.bias.wrapping_add(header.address).wrapping_sub(shift);
    let len = usize::try_from(header.size).ok().filter(|n| (*n as u64) < LIMIT)?;
    let header_bytes = cache::content(module, header.address, len, memory, pid, maps)?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(header_address);
    let parsed = EhFrameHdr::new(&header_bytes, LittleEndian).parse(&bases, 8).ok()?;
    let Pointer::Direct(address) = parsed.eh_frame_ptr() else { return None };
    let searchable = parsed.table().is_some();
    let link = address.wrapping_add(shift).wrapping_sub(module.bias);
    let segment = module.of_kind(elf::LOAD).find(|s| link >= s.address && link - s.address < s.file_size)?;
    // The size of the section is in no program header; the segment's end bounds it.
    let size = segment.file_size.saturating_sub(link - segment.address).min(LIMIT);
    let bytes = cache::content(module, link, usize::try_from(size).ok()?, memory, pid, maps)?;
    let index = if searchable {
        Index::Header(header_address, header_bytes)
    } else {
        Index::Own(index(address, &bytes))
    };
    Some(Table { start: module.start, end: module.end, index, shift, address, bytes, entry: module.entry })
}

/// For programs without `PT_GNU_EH_FRAME`, such as static ones: the section headers, which are only in the
/// file, say where the section is.
fn read_by_section(module: &Module, memory: &Memory, pid: i32, maps: &[Mapping]) -> Option<Table> {
    let file = identity::open_file(module, pid, maps)?;
    let section = identity::section(&file, ".eh_frame")?;
    let shift = shift(module, section.address);
    let address = module.bias.wrapping_add(section.address).wrapping_sub(shift);
    let len = usize::try_from(section.size).ok().filter(|n| (*n as u64) < LIMIT)?;
    let bytes = cache::content(module, section.address, len, memory, pid, maps)?;
    let index = Index::Own(index(address, &bytes));
    Some(Table { start: module.start, end: module.end, index, shift, address, bytes, entry: module.entry })
}

/// Tables in a segment that is never written hold what the file holds, so link-time addresses serve all
/// processes; in a writable one the dynamic loader may have put run-time addresses.
fn shift(module: &Module, link: u64) -> u64 {
    let holds = |s: &&elf::Segment| link >= s.address && link - s.address < s.size;
    let writable = module.of_kind(elf::LOAD).find(holds).is_none_or(|s| s.flags & elf::WRITE != 0);
    if writable { 0 } else { module.bias }
}

/// Lists the entries of a section, up to its terminator or the first that does not parse.
fn index(address: u64, bytes: &[u8]) -> Vec<(u64, u64, usize)> {
    let mut section = EhFrame::new(bytes, LittleEndian);
    section.set_address_size(8);
    section.set_vendor(VENDOR);
    let bases = BaseAddresses::default().set_eh_frame(address);
    let mut entries = section.entries(&bases);
    let mut index = Vec::new();
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(EhFrame::cie_from_offset)
        {
            let start = fde.initial_address();
            index.push((start, start.saturating_add(fde.len()), fde.offset()));
        }
    }
    index.sort_unstable();
    index
}

impl Table {
    fn row(&self, pc: u64) -> Option<Row> {
        let pc = pc.wrapping_sub(self.shift);
        let mut section = EhFrame::new(&self.bytes, LittleEndian);
        section.set_address_size(8);
        section.set_vendor(VENDOR);
        let bases = BaseAddresses::default().set_eh_frame(self.address);
        let fde = match &self.index {
            Index::Header(address, bytes) => {
                let bases = bases.clone().set_eh_frame_hdr(*address);
                let header = EhFrameHdr::new(bytes, LittleEndian).parse(&bases, 8).ok()?;
                let Pointer::Direct(at) = header.table()?.lookup(pc, &bases).ok()? else { return None };
                // `fde_for_address` would take an entry before the section for a place in it.
                let offset = usize::try_from(at.checked_sub(self.address)?).ok()?;
                let at = EhFrameOffset(offset);
                let fde = section.fde_from_offset(&bases, at, EhFrame::cie_from_offset).ok()?;
                Some(fde).filter(|fde| fde.contains(pc))?
            }
            Index::Own(index) => {
                let next = index.partition_point(|e| e.0 <= pc);
                let (_, _, offset) = *index.get(next.checked_sub(1)?).filter(|e| pc < e.1)?;
                section.fde_from_offset(&bases, EhFrameOffset(offset), EhFrame::cie_from_offset).ok()?
            }
        };
        let mut context = gimli::UnwindContext::new();
        let row = fde.unwind_info_for_address(&section, &bases, &mut context, pc).ok()?;
        if usize::from(fde.cie().return_address_register().0) != RETURN {
            return None;
        }
        let expression = |e: &gimli::UnwindExpression<usize>| {
            e.get::<Slice<'_>, _>(&section).ok().map(|e| e.0.slice().to_vec())
        };
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                Cfa::Register(usize::from(register.0), *offset)
            }
            CfaRule::Expression(e) => Cfa::Expression(expression(e)?),
        };
        let mut rules = default_rules();
        for (register, rule) in row.registers() {
            let Some(slot) = rules.get_mut(usize::from(register.0)) else { continue };
            *slot = match rule {
                RegisterRule::Undefined => Rule::Undefined,
                RegisterRule::SameValue => Rule::Same,
                RegisterRule::Offset(n) => Rule::At(*n),
                RegisterRule::ValOffset(n) => Rule::Value(*n),
                RegisterRule::Register(r) => Rule::Register(usize::from(r.0)),
                RegisterRule::Expression(e) => Rule::AtExpression(expression(e)?),
                RegisterRule::ValExpression(e) => Rule::Expression(expression(e)?),
                _ => Rule::Unknown,
            };
        }
        Some(Row { cfa, rules, signal: fde.is_signal_trampoline() })
    }
}

/// The value of a register that no rule names. A function leaves callee-saved registers as they were. The
/// stack pointer of the caller is the CFA. Nothing is known about the others.
fn default_rules() -> [Rule; COUNT] {
    std::array::from_fn(|register| match register {
        SP => Rule::Value(0),
        kept if is_kept(kept) => Rule::Same,
        _ => Rule::Unknown,
    })
}

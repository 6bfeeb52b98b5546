//! A stripped target with the same code at the same addresses, but other data: paths of the build in strings
//! (`__FILE__`) have another length there, so that all that follows them in `.rodata` lies elsewhere.
//!
//! Every function of the linked file is compared with what is at its address in the target, instruction by
//! instruction. The places that both refer to at the same point are the same thing: this is how data is
//! found.

use std::collections::BTreeMap;

use differ::Refusal;

use crate::arch::{Machine, Value};
use crate::elf::{
    ElfFile, PT_TLS, SHF_ALLOC, SHF_EXECINSTR, STT_FUNC, STT_GNU_IFUNC, STT_TLS, Section, Symbol,
};
use crate::error::refusal;
use crate::locate::translate::{LinkedSymbol, TargetAddresses, same_instruction};

/// The linked file and a target whose functions are the same at the same places.
#[derive(Debug)]
pub(crate) struct SameCode<'a> {
    machine: &'static dyn Machine,
    linked: ElfFile<'a>,
    target: ElfFile<'a>,
    /// Data that code leads to: address in the linked file, address in the target; none if two places of the
    /// code disagree.
    data: BTreeMap<u64, Option<u64>>,
}

impl<'a> SameCode<'a> {
    /// None if the code is not the same, function for function, or if there are no symbols to tell functions
    /// apart.
    pub(crate) fn new(
        machine: &'static dyn Machine,
        linked: &ElfFile<'a>,
        target: &ElfFile<'a>,
    ) -> Option<Self> {
        let code = |elf: &ElfFile<'_>| -> Vec<(String, u64, u64)> {
            let sections = elf.sections.iter().filter(|s| is_code(s));
            sections.map(|s| (s.name.clone(), s.address, s.size)).collect()
        };
        let tls =
            |elf: &ElfFile<'_>| elf.segments.iter().find(|s| s.kind == PT_TLS).map(|s| (s.size, s.align));
        if code(linked) != code(target) || tls(linked) != tls(target) {
            return None;
        }
        let mut this =
            Self { machine, linked: linked.clone(), target: target.clone(), data: BTreeMap::new() };
        let mut functions: Vec<(u64, u64)> =
            linked.symbols.iter().filter(|s| is_function(s, linked)).map(|s| (s.value, s.size)).collect();
        functions.sort_unstable();
        functions.dedup();
        if functions.is_empty()
            || !functions.into_iter().all(|(address, size)| this.pair(address, size).is_some())
        {
            return None;
        }
        Some(this)
    }

    /// Compares a function, and notes its references.
    fn pair(&mut self, address: u64, size: u64) -> Option<()> {
        let length = usize::try_from(size).ok()?;
        let (ours, theirs) =
            (self.linked.bytes_from(address).get(..length)?, self.target.bytes_from(address).get(..length)?);
        let whole = LinkedSymbol { name: "", file: "", address, size, function: true };
        let pairs = self.machine.instructions(ours, address).zip(self.machine.instructions(theirs, address));
        for (x, y) in pairs {
            if !same_instruction(&x, &y, whole, address, [&self.linked, &self.target]) {
                return None;
            }
            for (from, to) in x.operands.iter().flatten().zip(y.operands.iter().flatten()) {
                match (from.value, to.value) {
                    // A call leads to the same function: those are where they were.
                    (Value::Branch(from), Value::Branch(to)) if from != to => return None,
                    (Value::Data(from), Value::Data(to)) => {
                        let known = self.data.entry(from).or_insert(Some(to));
                        if *known != Some(to) {
                            *known = None;
                        }
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn section_of<'s>(elf: &'s ElfFile<'_>, address: u64) -> Option<&'s Section> {
        let holds = |s: &&Section| {
            s.flags & SHF_ALLOC != 0 && address >= s.address && address - s.address < s.size.max(1)
        };
        elf.sections.iter().find(holds)
    }

    /// Where the data at `address` is in the target.
    fn datum(&self, address: u64, size: u64) -> Result<u64, String> {
        let section = Self::section_of(&self.linked, address).ok_or("it is in no section")?;
        let there =
            self.target.sections.iter().find(|s| s.name == section.name).ok_or("its section is not there")?;
        let shifts = |from: u64, to: u64| -> Option<Vec<u64>> {
            self.data.range(from..to).map(|(ours, theirs)| theirs.map(|t| t.wrapping_sub(*ours))).collect()
        };
        let unsure = "the code leads to different places";
        let mut all = shifts(address, address + size.max(1)).ok_or(unsure)?;
        // A section of the same size in which nothing has moved against the rest of it.
        if all.is_empty() && section.size == there.size {
            all = shifts(section.address, section.address + section.size).ok_or(unsure)?;
            if all.is_empty() {
                return Err("no code leads to its section".to_owned());
            }
            all.push(there.address.wrapping_sub(section.address));
        }
        all.sort_unstable();
        all.dedup();
        match all[..] {
            [shift] => {
                let found = address.wrapping_add(shift);
                let inside = found >= there.address && found + size <= there.address + there.size;
                if inside { Ok(found) } else { Err("it would lie outside its section".to_owned()) }
            }
            [] => Err("no code of the package leads to it".to_owned()),
            _ => Err(unsure.to_owned()),
        }
    }
}

impl TargetAddresses for SameCode<'_> {
    fn translate(&self, symbol: LinkedSymbol<'_>) -> Result<u64, Refusal> {
        let address = symbol.address;
        let is_tls = |s: &&Symbol| s.kind == STT_TLS && s.value == address && s.name == symbol.name;
        if !symbol.function && self.linked.symbols.iter().any(|s| is_tls(&s)) {
            return Ok(address);
        }
        if Self::section_of(&self.linked, address).is_some_and(is_code) {
            return Ok(address);
        }
        self.datum(address, symbol.size).map_err(|why| {
            refusal(
                "address in the target not certain",
                symbol.name,
                format!(
                    "the target is stripped, its data lies elsewhere than in the rebuilt file, and {why}"
                ),
                "give the debuginfo package of exactly this build (`--debuginfo`), or build the patch in the \
                 environment that the \
                 target was built in",
            )
        })
    }

    fn reach(&self, _address: u64, linked: Option<u64>) -> u64 {
        linked.unwrap_or(0)
    }
}

fn is_code(section: &Section) -> bool {
    section.flags & SHF_EXECINSTR != 0
}

fn is_function(symbol: &Symbol, elf: &ElfFile<'_>) -> bool {
    symbol.is_defined()
        && matches!(symbol.kind, STT_FUNC | STT_GNU_IFUNC)
        && symbol.size > 0
        && SameCode::section_of(elf, symbol.value).is_some_and(is_code)
}

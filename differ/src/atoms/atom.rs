//! The types of a unit that is split into atoms, and how atoms are found.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::arch::{Arch, Code};
use crate::kernel;
use crate::model::{Binding, KernelOptions};
use crate::profile::Profile;
use crate::record_kind::RecordKind;
use crate::unit::{Section, Symbol, Unit};

/// What an atom is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomKind {
    /// Named code.
    Function,
    /// Named data.
    Object,
    /// Without a symbol: strings, constants, jump tables. These are compared by content, where something
    /// refers to them.
    Anonymous,
}

/// What an atom holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtomContent {
    /// Instructions.
    Code,
    /// Data. It may lie in a code section.
    Data,
    /// It lies in a code section, and neither its type nor what is done with it tells.
    Unknown,
}

/// One piece of a section.
#[derive(Debug)]
pub(crate) struct Atom {
    pub(crate) section: usize,
    /// Offsets in the section.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// So many bytes before its start belong to it: padding that the kernel may write code into.
    pub(crate) padding: u64,
    pub(crate) kind: AtomKind,
    pub(crate) nature: AtomContent,
    /// Symbols at its start, the best name first. Of [`AtomKind::Anonymous`] only copied data has names, see
    /// [`Atoms::is_copied`].
    pub(crate) names: Vec<usize>,
    /// Typed or global symbols inside of it: further entries.
    pub(crate) inner: Vec<usize>,
    pub(crate) code: Option<Code>,
    pub(crate) refs: Vec<Ref>,
}

impl Atom {
    pub(crate) fn size(&self) -> u64 {
        self.end - self.start
    }
}

/// A reference out of an atom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ref {
    /// Offset of the field in the atom.
    pub(crate) at: u64,
    pub(crate) r_type: u32,
    pub(crate) width: u8,
    pub(crate) target: Target,
    pub(crate) is_branch: bool,
    /// The addend of the relocation minus the offset in [`Target`]. It stays the same when the target moves.
    pub(crate) bias: i64,
    /// The assembler resolved the reference, so the object has no relocation for it.
    pub(crate) resolved: bool,
}

/// What a reference refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Offset in an atom. It may lie outside of the atom (`table[i - 1]`).
    Atom { atom: usize, offset: i64 },
    /// A symbol that the unit does not define, or an absolute one.
    Symbol { symbol: usize, offset: i64 },
}

/// A unit, split.
#[derive(Debug)]
pub(crate) struct Atoms<'a> {
    pub(crate) unit: Unit<'a>,
    pub(crate) arch: &'static dyn Arch,
    pub(crate) profile: Profile,
    /// What is known of the kernel that the unit is for.
    pub(crate) kernel: KernelOptions,
    pub(crate) atoms: Vec<Atom>,
    /// Per section its atoms, by start.
    pub(crate) by_section: Vec<Vec<usize>>,
    /// Per section the offsets that something refers to, sorted. Anonymous pieces begin there.
    pub(crate) marks: Vec<Vec<u64>>,
    pub(crate) by_name: HashMap<&'a str, usize>,
    /// Only the place counts that a reference leads to, not the atom. It may lie outside of every atom.
    pub(crate) by_place: bool,
    pub(super) users: OnceCell<Vec<Vec<usize>>>,
}

impl<'a> Atoms<'a> {
    pub(crate) fn atom(&self, id: usize) -> &Atom {
        &self.atoms[id]
    }

    pub(crate) fn section(&self, id: usize) -> &Section<'a> {
        &self.unit.sections[self.atoms[id].section]
    }

    pub(crate) fn symbol(&self, symbol: usize) -> &Symbol<'a> {
        &self.unit.symbols[symbol]
    }

    /// The kind of the records in a section, by its index; `None` for a section of another kind.
    pub(crate) fn records_in(&self, section: usize) -> Option<RecordKind> {
        self.profile.records_in(&self.unit.sections.get(section)?.name)
    }

    /// The best symbol of an atom.
    pub(crate) fn primary(&self, id: usize) -> Option<&Symbol<'a>> {
        self.atoms[id].names.first().map(|&s| self.symbol(s))
    }

    /// Its name, or that of its section.
    pub(crate) fn name(&self, id: usize) -> &str {
        self.primary(id).map_or(&*self.section(id).name, |s| s.name)
    }

    /// Content; empty for zeroed memory.
    pub(crate) fn bytes(&self, id: usize) -> &[u8] {
        let atom = &self.atoms[id];
        let (Ok(start), Ok(end)) = (usize::try_from(atom.start), usize::try_from(atom.end)) else {
            return &[];
        };
        self.section(id).data.get(start..end).unwrap_or(&[])
    }

    /// The bytes of an atom with the padding before it.
    pub(crate) fn bytes_with_padding(&self, id: usize) -> &[u8] {
        let atom = &self.atoms[id];
        let range = (usize::try_from(atom.start - atom.padding), usize::try_from(atom.end));
        let (Ok(start), Ok(end)) = range else { return &[] };
        self.section(id).data.get(start..end).unwrap_or(&[])
    }

    /// Other units can refer to it.
    pub(crate) fn is_global(&self, id: usize) -> bool {
        self.atoms[id].names.iter().any(|&s| self.symbol(s).binding != Binding::Local)
    }

    /// Is it data whose name carries a number that says nothing? It is compared by content, as what has no
    /// name, and each function that is shipped brings a copy.
    pub(crate) fn is_copied(&self, id: usize) -> bool {
        self.atoms[id].kind == AtomKind::Anonymous && !self.atoms[id].names.is_empty()
    }

    /// Is it unnamed code that tables of the kernel lead to? It is shipped with the code that refers to it.
    pub(crate) fn is_companion(&self, id: usize) -> bool {
        self.profile == Profile::Kernel && kernel::is_companion(&self.section(id).name)
    }

    /// Does the kernel or a module run this only when it starts? It does not run again.
    pub(crate) fn has_passed(&self, id: usize) -> bool {
        self.profile == Profile::Kernel && kernel::has_passed(self.section(id))
    }

    /// The atom that `offset` of `section` lies in. The offset behind the last byte belongs to the last atom.
    /// Where the section holds one atom only, every offset belongs to that atom.
    pub(crate) fn find(&self, section: usize, offset: i64) -> Option<usize> {
        let ids = self.by_section.get(section)?;
        if let [only] = ids.as_slice() {
            return Some(*only);
        }
        let after = ids.partition_point(|&id| self.atoms[id].start.cast_signed() <= offset);
        let id = *ids.get(after.checked_sub(1)?)?;
        (offset <= self.atoms[id].end.cast_signed()).then_some(id)
    }

    /// The atom of the section that is nearest to `offset`.
    pub(crate) fn nearest(&self, section: usize, offset: i64) -> Option<usize> {
        let ids = self.by_section.get(section)?;
        let after = ids.partition_point(|&id| self.atoms[id].start.cast_signed() <= offset);
        ids.get(after.saturating_sub(1)).copied()
    }

    /// The atoms that refer to it, in their order. References are resolved by then.
    pub(crate) fn users(&self, id: usize) -> &[usize] {
        let users = self.users.get_or_init(|| {
            let mut users = vec![Vec::new(); self.atoms.len()];
            for (user, atom) in self.atoms.iter().enumerate() {
                for r in &atom.refs {
                    if let Target::Atom { atom: target, .. } = r.target
                        && users[target].last() != Some(&user)
                    {
                        users[target].push(user);
                    }
                }
            }
            users
        });
        users.get(id).map_or(&[], Vec::as_slice)
    }

    /// Relocations that lie in the atom.
    pub(crate) fn relocs(&self, id: usize) -> &[crate::unit::Reloc] {
        let atom = &self.atoms[id];
        let all = &self.section(id).relocs;
        let from = all.partition_point(|r| r.offset < atom.start);
        let to = all.partition_point(|r| r.offset < atom.end);
        all.get(from..to).unwrap_or(&[])
    }
}

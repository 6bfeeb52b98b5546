//! What the comparison asks of an instruction set.

use std::collections::HashMap;
use std::fmt::Debug;

use super::code::Code;
use super::flow::{Counter, Counts, Kept, LabelUse, Labels, MemberUse, ValueSource};
use super::relocations::{ReadBy, RelocationType, find};
use super::x86_64;

/// One instruction set. An object is compared with that of its `e_machine`.
///
/// What AArch64 has that x86-64 has not, and which part takes it:
///
/// - mapping symbols (`$x`, `$d`), which name nothing: [`Arch::is_mapping_symbol`];
/// - literal pools between the instructions: [`Arch::decode`] will have to be told which ranges mapping
///   symbols mark as data. Code with bytes that are no instructions is not [`super::Code::valid`], and a
///   change of it is refused;
/// - a processor that counts from the instruction itself: [`RelocationType::pc_bias`] is 0, and
///   [`super::Instruction::counts_from`] its first byte;
/// - two or more relocations for one reference: each of them is a reference, and all have the same target;
/// - fields of some bits of an instruction: [`RelocationType::bits`];
/// - references to `.LANCHOR` + offset: `atoms` takes no name with `.L` for an atom, and goes by the offset;
/// - jump tables without relocations: the passes that look for tables ([`Arch::labels`]) and [`Arch::decode`]
///   have to read them;
/// - only one length of branches: [`Arch::widen_jump`] has nothing to do.
pub(crate) trait Arch: Debug + Sync {
    /// All relocation types, in ascending order of number.
    fn relocation_types(&self) -> &'static [RelocationType];

    /// The type that the assembler would have written for a reference that it resolved itself.
    fn type_of_resolved(&self, is_branch: bool) -> u32;

    /// Marks the kind of what follows in a section, and is the name of nothing.
    fn is_mapping_symbol(&self, name: &str) -> bool;

    /// Takes code apart.
    fn decode(&self, bytes: &[u8]) -> Code;

    /// The instruction in `bytes`, at offset `at` of its function, in words. `refers_to`: the name of what it
    /// refers to, and whether by a branch.
    fn show(&self, bytes: &[u8], at: u32, refers_to: Option<(&str, bool)>) -> String;

    /// Bytes between functions that do nothing.
    fn is_padding(&self, bytes: &[u8]) -> bool;

    /// Makes the jump with its field at offset `field` one that reaches everything, where it is the last
    /// instruction of `code` and too short. Gives the addend of a reference to the very place that it jumps
    /// to.
    fn widen_jump(&self, code: &mut Vec<u8>, field: u64) -> Option<i64>;

    /// Does the address that instructions form with their fields at `fields` (offsets in `bytes`, sorted) get
    /// into memory, to a function that is called, or to the caller?
    fn lets_address_out(&self, bytes: &[u8], fields: &[u64]) -> bool;

    /// Do the instructions with their fields at `fields`, and what they form addresses for, read and do
    /// nothing else?
    fn only_reads(&self, bytes: &[u8], fields: &[u64]) -> bool;

    /// Does code count something up, or down?
    fn counts(&self, bytes: &[u8], counter: &Counter) -> Counts;

    /// How a function uses values that it computes from a source.
    fn keeps(&self, bytes: &[u8], source: &ValueSource) -> Kept;

    /// Does code compute something from what it is given and nothing else? It calls nobody, writes to its own
    /// stack only, and mixes.
    fn only_computes(&self, bytes: &[u8]) -> bool;

    /// What code does with the values of members of objects. `calls`: offset of the operand of each call, or
    /// jump, out of it, and the number of the function that it leads to.
    fn members(&self, bytes: &[u8], calls: &HashMap<u64, usize>) -> MemberUse;

    /// What a function does with the addresses of its labels.
    fn labels(&self, bytes: &[u8], labels: &Labels) -> LabelUse;

    /// A relocation type that may stand in an object; `None`: unknown, to be refused.
    fn relocation(&self, number: u32) -> Option<&'static RelocationType> {
        let supported = |t: &&RelocationType| matches!(t.read_by, ReadBy::Objects | ReadBy::Both);
        find(self.relocation_types(), number).filter(supported)
    }

    /// Do two relocation types ask for the same thing?
    fn same_reference(&self, a: u32, b: u32) -> bool {
        let plain = |number: u32| self.relocation(number).map_or(number, |t| t.same_as);
        plain(a) == plain(b)
    }
}

/// The instruction sets that this version knows: `e_machine`, name for messages.
static KNOWN: [(u16, &str, &dyn Arch); 1] = [(x86_64::MACHINE, "x86-64", &x86_64::X86_64)];

/// The instruction set of an ELF file by its `e_machine`; `None` for one that this version does not know.
pub(crate) fn of(machine: u16) -> Option<&'static dyn Arch> {
    KNOWN.iter().find(|(number, ..)| *number == machine).map(|(.., arch)| *arch)
}

/// The names of the instruction sets that this version knows.
pub(crate) fn known() -> String {
    KNOWN.map(|(_, name, _)| name).join(", ")
}

/// What is known of a relocation type of a machine (`e_machine`); `None` for a type or a machine that this
/// version does not know.
pub fn relocation_type(machine: u16, number: u32) -> Option<&'static RelocationType> {
    find(of(machine)?.relocation_types(), number)
}

/// Name of a relocation type as in the machine's psABI, for messages.
pub fn relocation_name(machine: u16, number: u32) -> String {
    relocation_type(machine, number)
        .map_or_else(|| format!("relocation type {number}"), |t| t.name.to_owned())
}

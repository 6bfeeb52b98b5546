//! What is known of a relocation type: one row for each type of a machine.
//!
//! The comparison and the linker use the same rows. The letters are those of the psABIs: S is the symbol's
//! address, A the addend, P the address of the field, L the symbol's entry in the procedure linkage table,
//! GOT the global offset table, Z the symbol's size.

/// One relocation type of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelocationType {
    /// Number in `r_info`.
    pub number: u32,
    /// Name as in the psABI, for messages.
    pub name: &'static str,
    /// Where relocations of this type stand.
    pub read_by: ReadBy,
    /// What is written.
    pub computes: Computes,
    /// Bytes from the first to the last one that holds a bit of the value.
    pub width: u8,
    /// The bits of these bytes that hold the value, as a little-endian number; the others are of the
    /// instruction.
    pub bits: u64,
    /// `Some`: P is subtracted. The number is the distance from the field to the address from which the
    /// processor counts, where the field is the last part of its instruction (x86-64: its width; AArch64: 0).
    /// An addend in code holds minus this distance.
    pub pc_bias: Option<u8>,
    /// Which values fit into the field.
    pub range: Range,
    /// The bytes that a linker may write: the field alone, or more where it may relax the reference.
    pub rewrites: Rewrites,
    /// The forms into which a linker may relax the reference. Empty: it writes the field and nothing else.
    pub relaxations: &'static [Relaxation],
    /// The type that stands for all types which ask for the same thing and differ only in what a linker may
    /// do about it. Mostly the type itself.
    pub same_as: u32,
}

impl RelocationType {
    /// P is subtracted.
    pub fn is_pc_relative(&self) -> bool {
        self.pc_bias.is_some()
    }

    /// Refers to a thread-local variable.
    pub fn is_tls(&self) -> bool {
        matches!(self.computes, Computes::Tls(_))
    }
}

/// Who reads relocations of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBy {
    /// Objects, and read by the linker only.
    Objects,
    /// Linked files, and read by the dynamic loader only.
    LinkedFiles,
    /// Objects and linked files.
    Both,
    /// Objects, but nothing here can treat the type. Only its name and width are known.
    Unsupported,
}

/// What is written into the field. Where P is subtracted, [`RelocationType::pc_bias`] says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computes {
    /// Nothing.
    Nothing,
    /// S + A.
    Address,
    /// L + A: the symbol, or its entry in the procedure linkage table where it is in another module. For
    /// calls and jumps.
    Call,
    /// The address of the symbol's slot in the global offset table, + A.
    GotSlot,
    /// The offset of the symbol's slot in the global offset table, + A.
    GotOffset,
    /// The address of the global offset table, + A.
    GotAddress,
    /// S + A − GOT.
    DistanceFromGot,
    /// The offset of the symbol's entry in the procedure linkage table from the global offset table, + A.
    PltOffset,
    /// Z + A.
    Size,
    /// A part of a reference to a thread-local variable.
    Tls(Tls),
    /// The symbol's content is copied here (dynamic loader).
    Copy,
    /// The address of a symbol that the dynamic loader looks up.
    Lookup,
    /// An address that is looked up, in a slot that only calls go through: until the first call the loader
    /// may leave the address of its binder there.
    LookupForCalls,
    /// Load bias + A (dynamic loader).
    Relative,
    /// What the function at load bias + A returns (dynamic loader).
    Resolver,
}

/// A part of a reference to a thread-local variable (ELF Handling for Thread-Local Storage).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// General dynamic: the address of a pair of slots with the module and the offset in its block.
    GeneralDynamic,
    /// Local dynamic: the address of a pair of slots with the module and 0.
    LocalDynamic,
    /// Initial exec: the address of a slot with the offset from the thread pointer.
    InitialExec,
    /// Local exec: the offset from the thread pointer.
    ThreadOffset,
    /// The offset in the module's block.
    BlockOffset,
    /// The number of the module.
    Module,
    /// The address of a descriptor, or the descriptor itself where the dynamic loader fills it in.
    Descriptor,
    /// Marks the call of a descriptor's function.
    DescriptorCall,
}

/// Which values a field can hold, by its number of value bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Every value, or no value is written.
    Whole,
    /// Sign-extended.
    Signed,
    /// Zero-extended.
    Unsigned,
    /// Either of both.
    SignedOrUnsigned,
}

/// Bytes that a linker may write, counted from the offset of the relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewrites {
    /// So many before the offset.
    pub before: u8,
    /// So many from the offset on.
    pub after: u8,
}

/// What a linker may turn a reference into when it relaxes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relaxation {
    /// A load from a slot of the global offset table becomes the address itself, relative to the instruction.
    SlotToDistance,
    /// A load from a slot, or an operation with one, becomes an operation with the address as a constant.
    SlotToConstant,
    /// A call or jump through a slot becomes a direct one.
    SlotToBranch,
    /// A dynamic reference to a thread-local variable becomes initial exec.
    ToInitialExec,
    /// A reference to a thread-local variable becomes local exec.
    ToLocalExec,
}

/// A row of `table`, which is in ascending order of number.
pub(super) fn find(table: &'static [RelocationType], number: u32) -> Option<&'static RelocationType> {
    let index = table.binary_search_by_key(&number, |t| t.number).ok()?;
    table.get(index)
}

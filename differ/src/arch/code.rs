//! Instructions of one function, as far as a comparison needs them.

/// The decoded instructions of a piece of code. Offsets count from its first byte.
#[derive(Debug, Default)]
pub(crate) struct Code {
    pub(crate) instructions: Vec<Instruction>,
    /// All bytes are instructions. `false`: data between the code (hand-written assembly).
    pub(crate) valid: bool,
}

/// One instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) at: u32,
    pub(crate) length: u8,
    /// Two direct branches with the same number do the same but for where they lead, whatever their length.
    pub(crate) branch_kind: u16,
    /// Padding without effect.
    pub(crate) is_padding: bool,
    /// The number of instructions before it, padding not counted.
    pub(crate) ordinal: u32,
    /// The field of a direct branch.
    pub(crate) branch: Option<Field>,
    /// The field of an operand that names an address relative to the instruction.
    pub(crate) address: Option<Field>,
    /// What one of these two refers to when no relocation says otherwise.
    pub(crate) target: Option<i64>,
    /// The offset from which the processor counts what is relative to the instruction.
    pub(crate) counts_from: u32,
    /// The next instruction in memory may be executed after this one. A call at the very end of a function
    /// does not return, and only there does that matter: so no call falls through.
    pub(crate) falls_through: bool,
}

/// Bytes of an instruction, counted from its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: u8,
    pub(crate) width: u8,
}

impl Instruction {
    /// Offset of the byte behind it.
    pub(crate) fn end(&self) -> u32 {
        self.at + u32::from(self.length)
    }

    /// Offset of a field in the function.
    pub(crate) fn offset_of(&self, field: Field) -> u64 {
        u64::from(self.at) + u64::from(field.at)
    }
}

impl Code {
    /// The instruction that holds the byte at `offset`.
    pub(crate) fn covering(&self, offset: u64) -> Option<&Instruction> {
        let index = self.instructions.partition_point(|i| u64::from(i.at) <= offset).checked_sub(1)?;
        self.instructions.get(index).filter(|i| offset < u64::from(i.end()))
    }

    /// The number of instructions before `offset`, padding not counted; `None` when no instruction starts
    /// there.
    pub(crate) fn ordinal(&self, offset: i64) -> Option<u32> {
        let offset = u64::try_from(offset).ok()?;
        let index = self.instructions.binary_search_by_key(&offset, |i| u64::from(i.at)).ok()?;
        self.instructions.get(index).map(|i| i.ordinal)
    }
}

//! What live patches of the kernel have to know of the instruction set.

use iced_x86::{Decoder, DecoderOptions};

/// `e_machine`
pub(crate) const MACHINE: u16 = super::E_MACHINE;
/// `R_X86_64_NONE`, `R_X86_64_64`, `R_X86_64_PC32`, `R_X86_64_PLT32` (psABI, "Relocation Types").
pub(crate) const NOTHING: u32 = 0;
pub(crate) const ADDRESS: u32 = 1;
pub(crate) const DISTANCE: u32 = 2;
pub(crate) const BRANCH: u32 = 4;
/// Size of `endbr64`, which may be before the call of the tracer.
pub(crate) const LANDING_PAD: u64 = 4;
/// From a field of a call or a jump, or of an instruction that takes an address, to the next instruction.
pub(crate) const TO_NEXT: u64 = 4;
/// In code, what stands for a call of the tracer that the build of the kernel has removed (`nopl
/// 0(%rax,%rax)`).
pub(crate) const NO_CALL: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// `call rel32`, `jmp rel32`, `jmp rel8`
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;
const SHORT_JUMP: u8 = 0xeb;
/// `xchg %ax, %ax`
const NOP_2: &[u8] = &[0x66, 0x90];

/// What a linker puts into a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// In bytes.
    pub(crate) width: u64,
    /// A distance from the field, not an address.
    pub(crate) relative: bool,
    /// A number with a sign.
    pub(crate) signed: bool,
}

/// The field of a relocation; `None` for a type that code and data of a kernel do not have.
pub(crate) fn form(kind: u32) -> Option<Form> {
    let (width, relative, signed) = match kind {
        ADDRESS => (8, false, false),
        DISTANCE | BRANCH => (4, true, true),
        // R_X86_64_32, R_X86_64_32S, R_X86_64_PC64
        10 => (4, false, false),
        11 => (4, false, true),
        24 => (8, true, true),
        _ => return None,
    };
    Some(Form { width, relative, signed })
}

/// Where the instructions of `code` end, which begins at `start`.
pub(crate) fn instruction_ends(code: &[u8], start: u64) -> Vec<u64> {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut ends = Vec::new();
    while decoder.can_decode() {
        ends.push(decoder.decode().next_ip());
    }
    ends
}

/// What `objtool` makes of a jump of a static key, which begins with this byte.
pub(crate) fn nop_for_jump(first: u8) -> Option<&'static [u8]> {
    match first {
        SHORT_JUMP => Some(NOP_2),
        JUMP => Some(&NO_CALL),
        _ => None,
    }
}

/// Is this the first byte of a call?
pub(crate) fn is_call(first: u8) -> bool {
    first == CALL
}

/// Where the call or the jump begins whose field is at `field` in `code`, and whether it is a jump.
pub(crate) fn branch_at(code: &[u8], field: u64) -> Option<(u64, bool)> {
    let at = usize::try_from(field).ok()?;
    let before = |n: usize| code.get(at.checked_sub(n)?).copied();
    match before(1)? {
        CALL => Some((field - 1, false)),
        JUMP => Some((field - 1, true)),
        // A jump on a condition.
        0x80..=0x8f if before(2) == Some(0x0f) => Some((field - 2, true)),
        _ => None,
    }
}

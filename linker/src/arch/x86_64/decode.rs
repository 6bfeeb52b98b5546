//! Instructions as the comparison of two files sees them.

use iced_x86::{Code, Decoder, DecoderOptions, OpKind, Register};

use crate::arch::{Instruction, Operand, Value};

/// Decodes code, one instruction after the other.
pub(super) struct Instructions<'c> {
    code: &'c [u8],
    start: u64,
    decoder: Decoder<'c>,
}

impl<'c> Instructions<'c> {
    pub(super) fn new(code: &'c [u8], at: u64) -> Self {
        Self { code, start: at, decoder: Decoder::with_ip(64, code, at, DecoderOptions::NONE) }
    }
}

impl<'c> Iterator for Instructions<'c> {
    type Item = Instruction<'c>;

    fn next(&mut self) -> Option<Instruction<'c>> {
        if !self.decoder.can_decode() {
            return None;
        }
        let x = self.decoder.decode();
        let start = usize::try_from(x.ip() - self.start).ok()?;
        let bytes = self.code.get(start..start + x.len())?;
        Some(Instruction {
            at: x.ip(),
            bytes,
            opcode: x.code() as u32,
            operands: operands(&x, &self.decoder, bytes),
            loads_thread_pointer: loads_thread_pointer(&x),
        })
    }
}

/// Displacement and immediate, as far as the instruction has them.
fn operands(x: &iced_x86::Instruction, decoder: &Decoder<'_>, bytes: &[u8]) -> [Option<Operand>; 2] {
    let offsets = decoder.get_constant_offsets(x);
    let immediate =
        |value: Value| operand(bytes, offsets.immediate_offset(), offsets.immediate_size(), value);
    if is_near_branch(x) {
        return [immediate(Value::Branch(x.near_branch_target())), None];
    }
    let displacement =
        |value: Value| operand(bytes, offsets.displacement_offset(), offsets.displacement_size(), value);
    let memory = if x.is_ip_rel_memory_operand() {
        displacement(Value::Data(x.ip_rel_memory_address()))
    } else {
        let stack = matches!(x.memory_base(), Register::RSP | Register::RBP);
        let value = x.memory_displacement64();
        displacement(Value::Displacement { value, stack })
    };
    let number = (0..x.op_count()).find_map(|i| x.try_immediate(i).ok());
    [memory, number.and_then(|n| immediate(Value::Immediate(n)))]
}

fn operand(bytes: &[u8], offset: usize, size: usize, value: Value) -> Option<Operand> {
    let field = bytes.get(offset..offset.checked_add(size)?).filter(|field| !field.is_empty())?;
    let bits = field.iter().rev().fold(0u64, |all, b| all << 8 | u64::from(*b));
    let shift = 64u32.saturating_sub(8 * u32::try_from(size).ok()?);
    let bits = ((bits << shift).cast_signed() >> shift).cast_unsigned();
    Some(Operand { offset, size, bits, value })
}

/// `mov %fs:0, %rax` and the like.
fn loads_thread_pointer(x: &iced_x86::Instruction) -> bool {
    x.segment_prefix() == Register::FS
        && x.memory_base() == Register::None
        && x.memory_index() == Register::None
        && x.memory_displacement64() == 0
}

fn is_near_branch(x: &iced_x86::Instruction) -> bool {
    x.op_count() > 0
        && matches!(x.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16)
        || matches!(x.code(), Code::Xbegin_rel32)
}

/// The instruction in words.
pub(super) fn text(instruction: &Instruction<'_>) -> String {
    Decoder::with_ip(64, instruction.bytes, instruction.at, DecoderOptions::NONE).decode().to_string()
}

/// Calls `found` with every address that an instruction holds relative to itself.
pub(super) fn data_references(code: &[u8], at: u64, found: &mut dyn FnMut(u64)) {
    let mut decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
    let mut instruction = iced_x86::Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_ip_rel_memory_operand() {
            found(instruction.ip_rel_memory_address());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::Reading;
    use crate::arch::x86_64::X86_64;
    use crate::elf::ElfFile;
    use crate::locate::LinkedSymbol;
    use crate::locate::translate::same_instruction;

    fn same(x: &[u8], y: &[u8]) -> bool {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let elf = ElfFile::parse(&own, "self").unwrap();
        let first = |code| X86_64.instructions(code, 0x1000).next().unwrap();
        let symbol = LinkedSymbol { name: "f", file: "", address: 0x1000, size: 16, function: true };
        same_instruction(&first(x), &first(y), symbol, 0x1000, [&elf, &elf])
    }

    #[test]
    fn operands_that_are_implied() {
        // rep stos %al,(%rdi); movsb (%rsi),(%rdi) and movsb %fs:(%rsi),(%rdi)
        assert!(same(&[0xf3, 0xaa], &[0xf3, 0xaa]));
        assert!(same(&[0xa4], &[0xa4]));
        assert!(!same(&[0x64, 0xa4], &[0x65, 0xa4]));
    }
}

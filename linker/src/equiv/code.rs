//! Compares code instruction by instruction: every bit that is not of a reference is equal, every reference leads to the same thing.

use iced_x86::{Code, ConstantOffsets, Decoder, DecoderOptions, Instruction, OpKind, Register};

use super::known::{Base, Field, Piece};
use super::matcher::{Kind, Matcher};
use super::side::Content;
use super::thread_local;
use crate::arch::x86_64::reloc_types as r;

impl Matcher<'_, '_> {
    pub(super) fn code(&mut self, piece: &Piece, there: u64) {
        let contents =
            (self.known.side.content(piece.start, piece.size), self.other.content(there, piece.size));
        let (Some(Content::Bytes(ours)), Some(Content::Bytes(theirs))) = contents else {
            return self.differs(Kind::Code, piece, "it reaches beyond its section".to_owned());
        };
        let tables = [self.known.side.exceptions.get(&piece.start), self.other.exceptions.get(&there)];
        match tables.map(|t| t.copied()) {
            [None, None] => {}
            [Some(here), Some(there)] => self.reference(piece, Base::Unknown, here, there),
            _ => self.differs(Kind::Code, piece, "it handles exceptions on one side only".to_owned()),
        }
        let mut a = Decoder::with_ip(64, ours, piece.start, DecoderOptions::NONE);
        let mut b = Decoder::with_ip(64, theirs, there, DecoderOptions::NONE);
        while a.can_decode() && b.can_decode() {
            let (x, y) = (a.decode(), b.decode());
            let offsets = a.get_constant_offsets(&x);
            let at = usize::try_from(x.ip() - piece.start).unwrap_or(usize::MAX);
            let raw = |code: &'_ [u8]| code.get(at..at.saturating_add(x.len())).map(<[u8]>::to_vec);
            let detail = || format!("at +{:#x}: `{x}` here, `{y}` there", x.ip() - piece.start);
            if x.len() != y.len() || x.code() != y.code() {
                return self.differs(Kind::Code, piece, detail());
            }
            match self.instruction(piece, there, &x, &y, &offsets, raw(ours), raw(theirs)) {
                None => {}
                Some(Kind::Code) => return self.differs(Kind::Code, piece, detail()),
                Some(Kind::Number) => {
                    let number = |i| Some((x.try_immediate(i).ok()?, y.try_immediate(i).ok()?));
                    let numbers = (0..x.op_count()).filter_map(number).find(|(a, b)| a != b);
                    self.other_number(piece, numbers, detail());
                }
                Some(kind) => self.differs(kind, piece, detail()),
            }
        }
        if a.can_decode() || b.can_decode() {
            self.differs(Kind::Code, piece, "its code ends elsewhere there".to_owned());
        }
    }

    /// Compares what is not a reference, and follows what is one. `None`: nothing differs.
    #[expect(clippy::too_many_arguments, reason = "both sides of one instruction")]
    fn instruction(
        &mut self,
        piece: &Piece,
        there: u64,
        x: &Instruction,
        y: &Instruction,
        offsets: &ConstantOffsets,
        ours: Option<Vec<u8>>,
        theirs: Option<Vec<u8>>,
    ) -> Option<Kind> {
        let (Some(mut ours), Some(mut theirs)) = (ours, theirs) else { return Some(Kind::Code) };
        let mut differs = None;
        let known = self.known;
        let fields: Vec<&Field> = known.fields_in(x.ip(), x.next_ip()).collect();
        let certain = known.regions.get(&piece.region).is_some_and(|r| r.known);
        let mut clear = |offset: usize, size: usize| {
            for side in [&mut ours, &mut theirs] {
                if let Some(bytes) = side.get_mut(offset..offset.saturating_add(size)) {
                    bytes.fill(0);
                }
            }
        };
        // An instruction may have two references: to a place in memory, and the address that it writes there.
        let base_of = |offset: usize, size: usize| {
            let start = x.ip() + offset as u64;
            let inside = |f: &&&Field| f.at < start + size as u64 && f.at + 4 > start;
            fields.iter().find(inside).map_or(Base::Unknown, |f| f.base)
        };
        if let (true, (a, b)) = (is_near_branch(x), (x.near_branch_target(), y.near_branch_target())) {
            clear(offsets.immediate_offset(), offsets.immediate_size());
            if a.wrapping_sub(piece.start) < piece.size {
                if a.wrapping_sub(piece.start) != b.wrapping_sub(there) {
                    return Some(Kind::Code);
                }
            } else {
                self.reference(piece, base_of(offsets.immediate_offset(), offsets.immediate_size()), a, b);
            }
        }
        if x.is_ip_rel_memory_operand() {
            clear(offsets.displacement_offset(), offsets.displacement_size());
            let base = base_of(offsets.displacement_offset(), offsets.displacement_size());
            // Asked for is only whose variables: which one is counted from there.
            if !fields.iter().any(|f| f.kind == r::TLSLD) {
                self.reference(piece, base, x.ip_rel_memory_address(), y.ip_rel_memory_address());
            }
        }
        // Other numbers in the instruction are references only where the object says so.
        for (offset, size) in [
            (offsets.displacement_offset(), offsets.displacement_size()),
            (offsets.immediate_offset(), offsets.immediate_size()),
        ] {
            if size == 0
                || is_near_branch(x)
                || x.is_ip_rel_memory_operand() && offset == offsets.displacement_offset()
            {
                continue;
            }
            let start = x.ip() + offset as u64;
            // Only for thread-local variables does the linker move the field; otherwise all that it rewrites besides is opcodes, and what is
            // counted to them may be the last byte of the instruction before.
            let holds = |f: &&&Field| match is_tls(f.kind) {
                true => f.start < start + size as u64 && f.end > start,
                false => f.at < start + size as u64 && f.at + 4 > start,
            };
            let field = fields.iter().find(holds);
            let numbers = (number(&ours, offset, size), number(&theirs, offset, size));
            let (Some(a), Some(b)) = numbers else { return Some(Kind::Code) };
            let follow = match field {
                // The thread pointer itself, where the linker has made a sequence into another one.
                Some(f) if is_tls(f.kind) && is_thread_pointer(x) && is_thread_pointer(y) => true,
                Some(f) if is_tls(f.kind) => thread_local::same(&known.side, self.other, a, b),
                Some(f) if is_absolute(f.kind) => {
                    self.reference(piece, f.base, a, b);
                    true
                }
                // Code of an unknown object of a program that is linked to a fixed place.
                None if !certain && a != b && self.known.side.is_address(a) && self.other.is_address(b) => {
                    self.reference(piece, Base::Unknown, a, b);
                    true
                }
                _ => a == b,
            };
            if !follow {
                let of_register = offset == offsets.displacement_offset() && !is_stack(x.memory_base());
                differs = differs.max(Some(if of_register { Kind::Offset } else { Kind::Number }));
            }
            for side in [&mut ours, &mut theirs] {
                if let Some(bytes) = side.get_mut(offset..offset + size) {
                    bytes.fill(0);
                }
            }
        }
        if ours == theirs { differs } else { Some(Kind::Code) }
    }
}

fn is_stack(register: Register) -> bool {
    matches!(register, Register::RSP | Register::RBP)
}

/// `mov %fs:0, %rax`.
fn is_thread_pointer(x: &Instruction) -> bool {
    x.segment_prefix() == Register::FS
        && x.memory_base() == Register::None
        && x.memory_index() == Register::None
        && x.memory_displacement64() == 0
}

fn is_near_branch(x: &Instruction) -> bool {
    x.op_count() > 0
        && matches!(x.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16)
        || matches!(x.code(), Code::Xbegin_rel32)
}

fn is_tls(kind: u32) -> bool {
    matches!(
        kind,
        r::TPOFF32
            | r::TPOFF64
            | r::DTPOFF32
            | r::DTPOFF64
            | r::GOTTPOFF
            | r::TLSGD
            | r::TLSLD
            | r::GOTPC32_TLSDESC
            | r::TLSDESC_CALL
    )
}

/// Absolute, also where the linker has made a load from a slot into a constant.
fn is_absolute(kind: u32) -> bool {
    matches!(kind, r::ABS64 | r::ABS32 | r::ABS32S | r::GOTPCRELX | r::REX_GOTPCRELX)
}

/// Sign-extended.
fn number(code: &[u8], offset: usize, size: usize) -> Option<u64> {
    let bytes = code.get(offset..offset.checked_add(size)?)?;
    let value = bytes.iter().rev().fold(0u64, |all, b| all << 8 | u64::from(*b));
    let shift = 64u32.saturating_sub(8 * u32::try_from(size).ok()?);
    Some(((value << shift).cast_signed() >> shift).cast_unsigned())
}

//! Bytes between functions.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions};

/// Instructions that only fill.
pub(super) fn is_filler(code: Code) -> bool {
    matches!(
        code,
        Code::Nopd | Code::Nopw | Code::Nopq | Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64 | Code::Int3
    )
}

/// Is all of it `nop` of any length, or `int3`?
pub(super) fn is_padding(code: &[u8], at: u64) -> bool {
    let decoder = &mut Decoder::with_ip(64, code, at, DecoderOptions::NONE);
    decoder.iter().all(|instruction| is_filler(instruction.code()))
}

/// Single `nop`s (`-fpatchable-function-entry=N,M`).
pub(super) fn is_patchable_entry(code: &[u8]) -> bool {
    code.iter().all(|b| *b == 0x90)
}

/// Whatever has the distance in a field of one or four bytes counts.
pub(super) fn leads_to(code: &[u8], at: u64, to: &Range<u64>, counts: &dyn Fn(u64) -> bool) -> bool {
    let far = code.windows(4).enumerate().any(|(index, field)| {
        let distance = field.try_into().map_or(0, i32::from_le_bytes);
        let field = at + index as u64;
        to.contains(&(field + 4).wrapping_add_signed(distance.into())) && counts(field)
    });
    far || near_jumps(to, at, code).any(|(field, place)| to.contains(&place) && counts(field))
}

/// Where short jumps (`jmp`, `jcc`, `loop`, `jrcxz`) may be near `hit`, and where they would lead, by the
/// bytes that may be one.
fn near_jumps(hit: &Range<u64>, start: u64, content: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let first = hit.start.saturating_sub(140).max(start);
    let from = usize::try_from(first - start).unwrap_or(usize::MAX);
    let near = content.get(from..).unwrap_or_default().windows(2).take(280).enumerate();
    near.filter(|(_, bytes)| matches!(bytes[0], 0x70..=0x7f | 0xe0..=0xe3 | 0xeb)).map(
        move |(index, bytes)| {
            let at = first + index as u64;
            (at, (at + 2).wrapping_add_signed(i64::from(bytes[1].cast_signed())))
        },
    )
}

//! Filling in relocations.

use crate::ProcessError;
use patchfile::image::{Relocation, RelocationKind};

/// Bytes of a relocated field: S + A or S + A − P, in the width the kind says.
///
/// # Errors
/// [`ProcessError::Unfit`] when the value does not fit the field.
pub(crate) fn field(relocation: &Relocation, value: u64, base: u64) -> Result<Vec<u8>, ProcessError> {
    let sum = value.wrapping_add_signed(relocation.addend);
    let place = base.wrapping_add(relocation.address);
    let too_far = || {
        ProcessError::unfit(format!(
            "relocation at {:#x}: value {sum:#x} is out of reach",
            relocation.address
        ))
    };
    let bytes = match relocation.kind {
        RelocationKind::Abs64 => sum.to_le_bytes().to_vec(),
        RelocationKind::Pc64 => sum.wrapping_sub(place).to_le_bytes().to_vec(),
        RelocationKind::Abs32 => u32::try_from(sum).map_err(|_| too_far())?.to_le_bytes().to_vec(),
        RelocationKind::Abs32Signed => {
            i32::try_from(sum.cast_signed()).map_err(|_| too_far())?.to_le_bytes().to_vec()
        }
        RelocationKind::Pc32 => {
            let distance = sum.wrapping_sub(place).cast_signed();
            i32::try_from(distance).map_err(|_| too_far())?.to_le_bytes().to_vec()
        }
    };
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relocation(kind: RelocationKind, addend: i64) -> Relocation {
        Relocation { address: 0x10, kind, reference: 0, addend }
    }

    #[test]
    fn forms() {
        let is = |kind, addend, value, base| field(&relocation(kind, addend), value, base).ok();
        assert_eq!(is(RelocationKind::Abs64, -1, 0, 0), Some(vec![0xff; 8]));
        assert_eq!(is(RelocationKind::Pc32, -4, 0x1010, 0x1000), Some((-4i32).to_le_bytes().to_vec()));
        assert_eq!(is(RelocationKind::Pc32, 0, 1 << 40, 0), None);
        assert_eq!(is(RelocationKind::Abs32, 0, 0xffff_fff0, 0), Some(0xffff_fff0u32.to_le_bytes().to_vec()));
        assert_eq!(is(RelocationKind::Abs32Signed, 0, 0xffff_fff0, 0), None);
        assert_eq!(is(RelocationKind::Abs32Signed, 0, u64::MAX, 0), Some(vec![0xff; 4]));
    }
}

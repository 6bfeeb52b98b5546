//! The reader of patch objects; what it accepts survives being written and read.
#![no_main]

use differ::PatchObject;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(object) = PatchObject::from_elf(data)
        && let Ok(written) = object.to_elf()
    {
        assert!(PatchObject::from_elf(&written).is_ok_and(|again| again == object), "read back as something \
         else");
    }
});

//! The reader of manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patchfile::Manifest;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(manifest) = Manifest::parse(text)
        && let Ok(written) = manifest.text()
    {
        assert!(Manifest::parse(&written).is_ok_and(|again| again == manifest), "read back as something \
         else");
    }
});

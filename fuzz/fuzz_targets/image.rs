//! The reader of patch files, which come from whoever may write to the patch folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use patchfile::image::Image;

fuzz_target!(|data: &[u8]| {
    if let Ok(image) = Image::parse(data)
        && let Ok(written) = image.write()
    {
        assert!(Image::parse(&written).is_ok_and(|again| again == image), "read back as something else");
    }
});

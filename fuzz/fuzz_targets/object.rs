//! The object reader and everything behind it: a damaged object is answered with an error or a comparison.
#![no_main]

use differ::Options;
use libfuzzer_sys::fuzz_target;

/// What the input is compared with besides itself.
static SEED: &[u8] = include_bytes!("../corpus/object/seed-patched.o");

fuzz_target!(|data: &[u8]| {
    let _ = differ::diff(data, data, &Options::default());
    let _ = differ::diff(SEED, data, &Options::default());
    let _ = differ::same_code(data, SEED);
});

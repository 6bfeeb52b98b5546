//! The readers of ELF files on disk and in the memory of processes: they end with an answer, and soon.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| applier::foreign::elf(data));

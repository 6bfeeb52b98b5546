//! Implements [`Arch`] for x86-64; each answer is in a file of its own.

use std::collections::HashMap;

use super::relocations::{self, PC32, PLT32};
use super::{counts, decode, escape, kept, labels, members, reads};
use crate::arch::code::Code;
use crate::arch::flow::{Counter, Counts, Kept, LabelUse, Labels, MemberUse, ValueSource};
use crate::arch::machine::Arch;
use crate::arch::relocations::RelocationType;

/// `EM_X86_64`.
pub(crate) const MACHINE: u16 = 62;

/// x86-64.
#[derive(Debug)]
pub(crate) struct X86_64;

impl Arch for X86_64 {
    fn relocation_types(&self) -> &'static [RelocationType] {
        &relocations::TYPES
    }

    fn type_of_resolved(&self, is_branch: bool) -> u32 {
        if is_branch { PLT32 } else { PC32 }
    }

    fn is_mapping_symbol(&self, _name: &str) -> bool {
        false
    }

    fn decode(&self, bytes: &[u8]) -> Code {
        decode::decode(bytes)
    }

    fn show(&self, bytes: &[u8], at: u32, refers_to: Option<(&str, bool)>) -> String {
        decode::show(bytes, at, refers_to)
    }

    fn is_padding(&self, bytes: &[u8]) -> bool {
        decode::is_padding(bytes)
    }

    fn widen_jump(&self, code: &mut Vec<u8>, field: u64) -> Option<i64> {
        decode::widen_jump(code, field)
    }

    fn lets_address_out(&self, bytes: &[u8], fields: &[u64]) -> bool {
        escape::escapes(bytes, fields)
    }

    fn only_reads(&self, bytes: &[u8], fields: &[u64]) -> bool {
        reads::only_reads(bytes, fields)
    }

    fn counts(&self, bytes: &[u8], counter: &Counter) -> Counts {
        counts::follow(bytes, counter)
    }

    fn keeps(&self, bytes: &[u8], source: &ValueSource) -> Kept {
        kept::follow(bytes, source)
    }

    fn only_computes(&self, bytes: &[u8]) -> bool {
        kept::only_computes(bytes)
    }

    fn members(&self, bytes: &[u8], calls: &HashMap<u64, usize>) -> MemberUse {
        members::follow(bytes, calls)
    }

    fn labels(&self, bytes: &[u8], labels: &Labels) -> LabelUse {
        labels::follow(bytes, labels)
    }
}

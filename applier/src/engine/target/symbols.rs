//! Looking up dynamic symbols in a module's memory (gABI "Symbol Table", "Hash Table"; GNU hash and symbol
//! versioning as in the LSB).

use super::{linkmap, memory::Memory, modules::Module};
use std::cell::Cell;

/// A definition found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Run-time address; of an IFUNC, that of its resolver.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// `STT_GNU_IFUNC`?
    pub ifunc: bool,
    /// `STT_TLS`?
    pub tls: bool,
}

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const DT_VERDEF: u64 = 0x6fff_fffc;
const SYMBOL: u64 = 24;
const HIDDEN: u16 = 0x8000;
/// Steps along hash chains and lists of versions, over all that is asked of one module: its tables may be
/// made to have no end.
const MOST: u32 = 1 << 20;

/// The dynamic symbol tables of one module.
#[derive(Debug)]
pub(crate) struct Symbols<'a> {
    memory: &'a Memory,
    bias: u64,
    names: u64,
    table: u64,
    gnu_hash: Option<u64>,
    hash: Option<u64>,
    versions: Option<u64>,
    definitions: Option<u64>,
    left: Cell<u32>,
}

/// The first of `modules` that defines `name`, by its default version, and the definition.
pub(crate) fn first_of<'m>(
    modules: &[&'m Module],
    name: &str,
    memory: &Memory,
) -> Option<(&'m Module, Definition)> {
    modules.iter().find_map(|m| Some((*m, Symbols::of(m, memory)?.find(name, None)?)))
}

impl<'a> Symbols<'a> {
    /// The tables of `module`, if it has any.
    pub(crate) fn of(module: &Module, memory: &'a Memory) -> Option<Self> {
        let dynamic = linkmap::dynamic(module, memory);
        // glibc relocates these pointers in place where it can write; musl and read-only sections keep
        // link-time values.
        let at = |tag: u64| {
            let value = dynamic.iter().find(|(t, _)| *t == tag)?.1;
            Some(if value < module.start { value.wrapping_add(module.bias) } else { value })
        };
        Some(Self {
            memory,
            bias: module.bias,
            names: at(DT_STRTAB)?,
            table: at(DT_SYMTAB)?,
            gnu_hash: at(DT_GNU_HASH),
            hash: at(DT_HASH),
            versions: at(DT_VERSYM),
            definitions: at(DT_VERDEF),
            left: Cell::new(MOST),
        })
    }

    /// One step more; `None` after too many.
    fn step(&self) -> Option<()> {
        self.left.set(self.left.get().checked_sub(1)?);
        Some(())
    }

    /// The definition of `name`, with the version asked for, or the default one.
    pub(crate) fn find(&self, name: &str, version: Option<&str>) -> Option<Definition> {
        if let Some(hash) = self.gnu_hash {
            return self.find_gnu(hash, name, version);
        }
        self.find_sysv(self.hash?, name, version)
    }

    fn find_gnu(&self, hash: u64, name: &str, version: Option<&str>) -> Option<Definition> {
        let m = self.memory;
        let buckets = u64::from(m.cached_u32(hash)?);
        let first = m.cached_u32(hash.wrapping_add(4))?;
        let bloom_words = u64::from(m.cached_u32(hash.wrapping_add(8))?);
        let shift = m.cached_u32(hash.wrapping_add(12))?;
        let value = gnu_hash(name);
        let bloom =
            m.cached_word(hash.wrapping_add(16 + 8 * u64::from(value / 64).checked_rem(bloom_words)?))?;
        if bloom >> (value % 64) & 1 == 0 || bloom >> (value.checked_shr(shift).unwrap_or(0) % 64) & 1 == 0 {
            return None;
        }
        let bucket_table = hash.wrapping_add(16 + 8 * bloom_words);
        let chains = bucket_table.wrapping_add(4 * buckets);
        let mut index =
            m.cached_u32(bucket_table.wrapping_add(4 * u64::from(value).checked_rem(buckets)?))?;
        if index < first {
            return None;
        }
        loop {
            self.step()?;
            let entry = m.cached_u32(chains.wrapping_add(4 * u64::from(index - first)))?;
            if entry | 1 == value | 1
                && let Some(found) = self.matching(index, name, version)
            {
                return Some(found);
            }
            if entry & 1 == 1 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }

    fn find_sysv(&self, hash: u64, name: &str, version: Option<&str>) -> Option<Definition> {
        let m = self.memory;
        let buckets = m.cached_u32(hash)?;
        let mut index =
            m.cached_u32(hash.wrapping_add(8 + 4 * u64::from(sysv_hash(name).checked_rem(buckets)?)))?;
        loop {
            self.step()?;
            if index == 0 {
                return None;
            }
            if let Some(found) = self.matching(index, name, version) {
                return Some(found);
            }
            index = m.cached_u32(hash.wrapping_add(8 + 4 * (u64::from(buckets) + u64::from(index))))?;
        }
    }

    /// Symbol `index`, if it is a definition of that name and version.
    fn matching(&self, index: u32, name: &str, version: Option<&str>) -> Option<Definition> {
        let symbol = self.memory.cached(self.table.wrapping_add(SYMBOL * u64::from(index)), 24)?;
        let string = u32::from_le_bytes(symbol[..4].try_into().ok()?);
        let section = u16::from_le_bytes(symbol[6..8].try_into().ok()?);
        let value = u64::from_le_bytes(symbol[8..16].try_into().ok()?);
        let size = u64::from_le_bytes(symbol[16..24].try_into().ok()?);
        let (kind, binding) = (symbol[4] & 15, symbol[4] >> 4);
        let defined = section != 0 && binding != 0;
        if !defined
            || !self.memory.string_is(self.names.wrapping_add(u64::from(string)), name)
            || !self.fits(index, version)
        {
            return None;
        }
        let absolute = section == 0xfff1;
        let address = if absolute { value } else { self.bias.wrapping_add(value) };
        Some(Definition { address, size, ifunc: kind == 10, tls: kind == 6 })
    }

    fn fits(&self, index: u32, version: Option<&str>) -> bool {
        let Some(versions) = self.versions else { return true };
        let Some(word) = self.memory.cached(versions.wrapping_add(2 * u64::from(index)), 2) else {
            return false;
        };
        let number = u16::from_le_bytes([word[0], word[1]]);
        match version {
            None => number & HIDDEN == 0 && number != 0,
            Some(wanted) => self.version_is(number & !HIDDEN, wanted),
        }
    }

    /// Is version `number` of this module called `wanted`? Symbols without a version of their own (number 1)
    /// fit every request when the module defines no versions.
    fn version_is(&self, number: u16, wanted: &str) -> bool {
        let Some(mut entry) = self.definitions else { return number == 1 };
        while self.step().is_some() {
            let Some(head) = self.memory.cached(entry, 20) else { return false };
            let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            if half(4) == number {
                let name = self.memory.cached_u32(entry.wrapping_add(u64::from(word(12))));
                return name
                    .is_some_and(|n| self.memory.string_is(self.names.wrapping_add(u64::from(n)), wanted));
            }
            if word(16) == 0 {
                return false;
            }
            entry = entry.wrapping_add(u64::from(word(16)));
        }
        false
    }
}

fn gnu_hash(name: &str) -> u32 {
    name.bytes().fold(5381, |hash: u32, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

fn sysv_hash(name: &str) -> u32 {
    name.bytes().fold(0, |hash: u32, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, engine::target::process::Process};

    #[test]
    fn hashes_of_the_specifications() {
        assert_eq!(gnu_hash("printf"), 0x156b_2bb8);
        assert_eq!(sysv_hash("printf"), 0x0779_05a6);
    }

    #[test]
    fn own_libc_by_name_and_version() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let process = Process::open(pid, &Options::default()).unwrap();
        let libc = process.modules.iter().find(|m| m.name().starts_with("libc.so")).unwrap();
        let symbols = Symbols::of(libc, &process.memory).unwrap();
        let getpid = symbols.find("getpid", None).unwrap();
        assert!(libc.executes(getpid.address) && !getpid.ifunc);
        assert_eq!(symbols.find("getpid", Some("GLIBC_2.2.5")), Some(getpid));
        assert_eq!(symbols.find("getpid", Some("GLIBC_9.9")), None);
        assert_eq!(symbols.find("no such symbol", None), None);
        assert!(symbols.find("memcpy", None).unwrap().ifunc);
        let order = crate::engine::target::linkmap::search_order(&process);
        assert_eq!(
            order[0].start,
            process.modules.iter().find(|m| m.executes(process.modules[0].entry)).unwrap().start
        );
        assert!(order.iter().any(|m| m.name().starts_with("libc.so")));
    }
}

//! The symbol table that a kernel carries in its own image. A shipped image has no other one.
//!
//! Names are sequences of tokens (`scripts/kallsyms.c` of Linux makes them). Two layouts are known, each part
//! of them aligned to 8 bytes:
//! - up to 6.3: offsets, base, number, names, markers, (from 6.2) order by name, token table, token index;
//! - from 6.4: number, names, markers, token table, token index, offsets, base, order by name.
//!
//! A marker is the position of every 256th name. Since all of them have to fit, and addresses have to ascend,
//! no other bytes are taken for a table.

use memchr::memmem;

/// One symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSymbol {
    /// Link-time address; of per-CPU data the offset in the per-CPU area.
    pub address: u64,
    /// Its kind, as `nm` shows it: upper case for global symbols.
    pub kind: u8,
    /// Its name.
    pub name: String,
}

impl KernelSymbol {
    /// Can other units refer to it by name?
    pub fn is_global(&self) -> bool {
        self.kind.is_ascii_uppercase() || matches!(self.kind, b'w' | b'v' | b'u')
    }

    /// Is it in code?
    pub fn is_code(&self) -> bool {
        matches!(self.kind.to_ascii_lowercase(), b't' | b'w')
    }
}

const TOKENS: usize = 256;
/// Size of the token index in bytes.
const INDEX: usize = TOKENS * 2;
/// Names between two markers.
const STRIDE: usize = 256;
/// Steps of the search, so that it ends on any bytes. A table of a million symbols takes a few million.
const STEPS: usize = 1 << 28;

/// The table in `rodata`, in the kernel's order, which is the one that positions among symbols of one name
/// count in.
///
/// # Errors
/// In words, when there is none, or one of an unknown layout.
pub(super) fn read(rodata: &[u8]) -> Result<Vec<KernelSymbol>, String> {
    let tokens = Tokens::find(rodata).ok_or("it has no names of symbols (CONFIG_KALLSYMS)")?;
    let mut steps = STEPS;
    let mut number_at = tokens.start & !7;
    while number_at >= 8 {
        number_at -= 8;
        let Some(names) = Names::at(rodata, number_at, &tokens, &mut steps) else {
            if steps == 0 {
                break;
            }
            continue;
        };
        let offsets = names.addresses(rodata, &tokens).ok_or("its table of symbols has an unknown layout")?;
        return names.symbols(rodata, &tokens, &offsets);
    }
    Err("its names of symbols have an unknown layout".to_owned())
}

/// The words that names are made of.
struct Tokens<'a> {
    start: usize,
    /// Behind the index.
    end: usize,
    words: Vec<&'a [u8]>,
}

impl<'a> Tokens<'a> {
    /// Each character that names have is a token of its own, at its own number. So the digits are in a row.
    fn find(rodata: &'a [u8]) -> Option<Self> {
        let digits: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit, 0]).collect();
        memmem::find_iter(rodata, &digits).find_map(|at| Self::around(rodata, at))
    }

    /// The table in which the token of the digit 0 is at `zero`: the index tells how far from the start.
    fn around(rodata: &'a [u8], zero: usize) -> Option<Self> {
        let mut at = zero;
        for _ in usize::from(b'0')..TOKENS {
            at += memchr::memchr(0, rodata.get(at..)?)? + 1;
        }
        let index = at.next_multiple_of(8);
        let start = zero.checked_sub(half(rodata, index + 2 * usize::from(b'0'))?.into())?;
        let (mut words, mut offset) = (Vec::with_capacity(TOKENS), 0);
        for number in 0..TOKENS {
            let rest = rodata.get(start + offset..)?;
            let word = rest.get(..memchr::memchr(0, rest)?)?;
            if usize::from(half(rodata, index + 2 * number)?) != offset {
                return None;
            }
            words.push(word);
            offset += word.len() + 1;
        }
        Some(Self { start, end: (index + INDEX).next_multiple_of(8), words })
    }
}

/// Where the names are.
struct Names {
    number_at: usize,
    number: usize,
}

impl Names {
    fn at(rodata: &[u8], number_at: usize, tokens: &Tokens<'_>, steps: &mut usize) -> Option<Self> {
        let (number, above) = (word(rodata, number_at)? as usize, word(rodata, number_at + 4)?);
        let start = number_at + 8;
        // A name has two bytes at least.
        if above != 0 || number == 0 || number > tokens.start.checked_sub(start)? / 2 {
            return None;
        }
        let (mut at, mut markers) = (start, Vec::with_capacity(number / STRIDE + 1));
        for name in 0..number {
            *steps = steps.checked_sub(1)?;
            if name % STRIDE == 0 {
                markers.push(at - start);
            }
            let (length, header) = length(rodata, at)?;
            at += header + length;
            if at > tokens.start {
                return None;
            }
        }
        let table = at.next_multiple_of(8);
        let fits =
            |(i, want): (usize, &usize)| word(rodata, table + 4 * i).is_some_and(|m| m as usize == *want);
        let end = (table + 4 * markers.len()).next_multiple_of(8);
        let with_order = (end + 3 * number).next_multiple_of(8);
        let adjacent = end == tokens.start || with_order == tokens.start;
        (adjacent && markers.iter().enumerate().all(fits)).then_some(Self { number_at, number })
    }

    /// Looks for ascending addresses, wherever and however they are written.
    fn addresses(&self, rodata: &[u8], tokens: &Tokens<'_>) -> Option<Vec<u64>> {
        let size = (4 * self.number).next_multiple_of(8);
        let before = self.number_at.checked_sub(8).and_then(|base| Some((base.checked_sub(size)?, base)));
        let behind = Some((tokens.end, tokens.end + size));
        let places = [behind, before].into_iter().flatten();
        places.flat_map(|place| [(place, true), (place, false)]).find_map(|((offsets, base), per_cpu)| {
            let base = word(rodata, base).zip(word(rodata, base + 4))?;
            let base = u64::from(base.0) | u64::from(base.1) << 32;
            let raw = rodata.get(offsets..offsets + 4 * self.number)?.chunks_exact(4);
            let raw = raw.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let addresses: Vec<u64> = raw.map(|raw| address(raw, base, per_cpu)).collect();
            // The upper half of the address space is the kernel's.
            (base >> 63 == 1 && addresses.is_sorted() && addresses.last() > Some(&base)).then_some(addresses)
        })
    }

    fn symbols(
        &self,
        rodata: &[u8],
        tokens: &Tokens<'_>,
        addresses: &[u64],
    ) -> Result<Vec<KernelSymbol>, String> {
        let broken = || "its table of symbols is damaged".to_owned();
        let (mut symbols, mut at) = (Vec::with_capacity(self.number), self.number_at + 8);
        let mut text = Vec::new();
        for &address in addresses {
            let (length, header) = length(rodata, at).ok_or_else(broken)?;
            let codes = rodata.get(at + header..at + header + length).ok_or_else(broken)?;
            at += header + length;
            text.clear();
            codes.iter().for_each(|code| text.extend_from_slice(tokens.words[usize::from(*code)]));
            let (&kind, name) = text.split_first().ok_or_else(broken)?;
            let name = String::from_utf8_lossy(name).into_owned();
            symbols.push(KernelSymbol { address, kind, name });
        }
        Ok(symbols)
    }
}

/// An offset is relative to the base. With absolute per-CPU symbols (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`) it is
/// an address if it is not negative, and else counts down, so that zero is not taken twice.
fn address(raw: u32, base: u64, absolute_per_cpu: bool) -> u64 {
    let signed = i64::from(raw.cast_signed());
    match absolute_per_cpu {
        true if signed >= 0 => u64::from(raw),
        true => base.wrapping_sub(1).wrapping_sub(signed.cast_unsigned()),
        false => base.wrapping_add(raw.into()),
    }
}

/// Tokens of the name at `at`, and bytes of this number: one, or two for long names (from 6.1).
fn length(rodata: &[u8], at: usize) -> Option<(usize, usize)> {
    let first = usize::from(*rodata.get(at)?);
    let (length, header) = if first & 0x80 == 0 {
        (first, 1)
    } else {
        (first & 0x7f | usize::from(*rodata.get(at + 1)?) << 7, 2)
    };
    (length != 0).then_some((length, header))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

//! The entry of a redirected function, and what is written to lead it elsewhere: a long jump, or, where there is no room for one, a short
//! jump to padding near by, the *hop*, that holds the long one.
//!
//! Nobody runs padding, so the hop is filled first; then the short jump is one write, as the long one is elsewhere. What is in the hop may
//! change afterwards, by one write too, with no thread between the two jumps ([`Way::between`]).

use crate::{ProcessError, engine::target::memory::Memory};
use patchfile::{
    control::Entry,
    image::{LONG, Redirect, SHORT},
};
use std::ops::Range;

/// The instruction that is a breakpoint.
const BREAKPOINT: u8 = 0xcc;

/// What is at a redirected place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The code as it was linked.
    Linked,
    /// A jump to this address.
    Jump(u64),
    /// Anything else.
    Other,
}

/// Where an entry is, and what was linked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) site: u64,
    original: [u8; 8],
    hop: Option<(u64, [u8; 8])>,
}

impl From<&Entry> for Way {
    fn from(entry: &Entry) -> Self {
        Self { site: entry.site, original: entry.original, hop: entry.hop }
    }
}

impl Way {
    /// That of a redirect in a module with this load bias.
    pub(crate) fn of(redirect: &Redirect, bias: u64) -> Self {
        let hop = redirect.hop.map(|hop| (bias.wrapping_add(hop.address), hop.original));
        Self { site: bias.wrapping_add(redirect.site()), original: redirect.original, hop }
    }

    /// The padding that it goes by.
    pub(crate) fn hop(&self) -> Option<u64> {
        self.hop.map(|(address, _)| address)
    }

    /// What is overwritten at the entry.
    pub(crate) fn overwritten(&self) -> Range<u64> {
        self.site..self.site.saturating_add(self.length())
    }

    /// Where a thread is that has run the first of two jumps, and the bytes that are overwritten there.
    pub(crate) fn between(&self) -> Option<Range<u64>> {
        self.hop.map(|(address, _)| address..address.saturating_add(LONG))
    }

    fn length(&self) -> u64 {
        if self.hop.is_some() { SHORT } else { LONG }
    }

    /// The bytes at the entry as linked.
    pub(crate) fn linked(&self) -> &[u8] {
        &self.original[..if self.hop.is_some() { 2 } else { 5 }]
    }

    /// The bytes of the padding as linked, with its address.
    pub(crate) fn linked_hop(&self) -> Option<(u64, &[u8])> {
        self.hop.as_ref().map(|(address, bytes)| (*address, &bytes[..5]))
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// When the process is gone, or nothing is mapped there.
    pub(crate) fn found(&self, memory: &Memory) -> Result<Found, ProcessError> {
        let mut bytes = [0; 5];
        let length = self.linked().len();
        memory.read_into(self.site, &mut bytes[..length])?;
        if bytes[..length] == *self.linked() {
            return Ok(Found::Linked);
        }
        match (bytes, self.hop) {
            (_, None) => jump_at(memory, self.site),
            ([0xeb, distance, ..], Some(_)) => {
                let hop =
                    self.site.wrapping_add(SHORT).wrapping_add_signed(i64::from(distance.cast_signed()));
                jump_at(memory, hop)
            }
            _ => Ok(Found::Other),
        }
    }

    /// Where the jump leads that was at the entry before somebody set a breakpoint on it, or a uprobe, which is the same to the process. Taken
    /// away, a uprobe leaves the byte that the file has there, whatever it has found.
    ///
    /// # Errors
    /// When the process is gone, or nothing is mapped there.
    pub(crate) fn below_breakpoint(&self, memory: &Memory) -> Result<Option<u64>, ProcessError> {
        let mut bytes = [0; 5];
        let length = self.linked().len();
        memory.read_into(self.site, &mut bytes[..length])?;
        let [first, distance @ ..] = bytes;
        if first != BREAKPOINT && first != self.original[0] {
            return Ok(None);
        }
        let Some((hop, _)) = self.hop else {
            let distance = i64::from(i32::from_le_bytes(distance));
            return Ok(Some(self.site.wrapping_add(LONG).wrapping_add_signed(distance)));
        };
        let distance = i64::from(distance[0].cast_signed());
        if self.site.wrapping_add(SHORT).wrapping_add_signed(distance) != hop {
            return Ok(None);
        }
        Ok(match jump_at(memory, hop)? {
            Found::Jump(to) => Some(to),
            Found::Linked | Found::Other => None,
        })
    }

    /// What is written to lead it to `to`, in this order.
    ///
    /// # Errors
    /// When that is out of reach.
    pub(crate) fn lead(&self, to: u64) -> Result<Vec<(u64, Vec<u8>)>, ProcessError> {
        let Some((hop, _)) = self.hop else { return Ok(vec![(self.site, long(self.site, to)?)]) };
        let distance = hop.wrapping_sub(self.site.wrapping_add(SHORT)).cast_signed();
        let distance =
            i8::try_from(distance).map_err(|_| ProcessError::unfit("padding of an entry is out of reach"))?;
        Ok(vec![(hop, long(hop, to)?), (self.site, vec![0xeb, distance.cast_unsigned()])])
    }
}

/// The jump at an address, if it is a long one.
pub(crate) fn jump_at(memory: &Memory, address: u64) -> Result<Found, ProcessError> {
    let mut bytes = [0; 5];
    memory.read_into(address, &mut bytes)?;
    let [opcode, distance @ ..] = bytes;
    if opcode != 0xe9 {
        return Ok(Found::Other);
    }
    let distance = i64::from(i32::from_le_bytes(distance));
    Ok(Found::Jump(address.wrapping_add(LONG).wrapping_add_signed(distance)))
}

/// `jmp rel32` from `from` to `to`.
fn long(from: u64, to: u64) -> Result<Vec<u8>, ProcessError> {
    let distance = to.wrapping_sub(from.wrapping_add(LONG)).cast_signed();
    let distance =
        i32::try_from(distance).map_err(|_| ProcessError::unfit("a new function is out of reach"))?;
    Ok([&[0xe9], &distance.to_le_bytes()[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_filled_before_anything_leads_there() {
        let way = Way { site: 0x1010, original: [0; 8], hop: Some((0x1000, [0x90; 8])) };
        let writes = way.lead(0x2000).unwrap();
        assert_eq!(writes[0], (0x1000, vec![0xe9, 0xfb, 0x0f, 0, 0]));
        assert_eq!(writes[1], (0x1010, vec![0xeb, 0xee]));
        assert_eq!(way.overwritten(), 0x1010..0x1012);
        assert!(Way { hop: Some((0x2000, [0; 8])), ..way }.lead(0x2000).is_err());
        let long = Way { hop: None, ..way }.lead(0x2000).unwrap();
        assert_eq!(long, [(0x1010, vec![0xe9, 0xeb, 0x0f, 0, 0])]);
    }
}

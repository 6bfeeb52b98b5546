//! The entry of a redirected function, and what is written to lead it elsewhere: a long jump, or, where there
//! is no room for one, a short jump to padding near by, the *hop*, that holds the long one.
//!
//! Nobody runs padding, so the hop is filled first; then the short jump is one write, as the long one is
//! elsewhere. What is in the hop may change afterwards, by one write too, with no thread between the two
//! jumps ([`EntrySite::between`]).

use crate::{
    ProcessError,
    arch::redirect::{self, JUMP, SHORT},
    engine::target::memory::Memory,
};
use patchfile::{control::Entry, image::Redirect};
use std::ops::Range;

/// What is at a redirected place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SiteContent {
    /// The code as it was linked.
    Linked,
    /// A jump to this address.
    Jump(u64),
    /// Anything else.
    Other,
}

/// Where an entry is, and what was linked there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntrySite {
    pub(crate) site: u64,
    original: [u8; 8],
    hop: Option<(u64, [u8; 8])>,
}

impl From<&Entry> for EntrySite {
    fn from(entry: &Entry) -> Self {
        Self { site: entry.site, original: entry.original, hop: entry.hop }
    }
}

impl EntrySite {
    /// The entry that `redirect` is about, in a module with this load bias.
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
        self.site..self.site.saturating_add(self.length() as u64)
    }

    /// Where a thread is that has run the first of two jumps, and the bytes that are overwritten there.
    pub(crate) fn between(&self) -> Option<Range<u64>> {
        self.hop.map(|(address, _)| address..address.saturating_add(JUMP as u64))
    }

    fn length(&self) -> usize {
        if self.hop.is_some() { SHORT } else { JUMP }
    }

    /// The bytes at the entry as linked.
    pub(crate) fn linked(&self) -> &[u8] {
        &self.original[..self.length()]
    }

    /// The bytes of the padding as linked, with its address.
    pub(crate) fn linked_hop(&self) -> Option<(u64, &[u8])> {
        self.hop.as_ref().map(|(address, bytes)| (*address, &bytes[..JUMP]))
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// When the process is gone, or nothing is mapped there.
    pub(crate) fn found(&self, memory: &Memory) -> Result<SiteContent, ProcessError> {
        let mut bytes = [0; JUMP];
        let bytes = self.read(memory, &mut bytes)?;
        if bytes == self.linked() {
            return Ok(SiteContent::Linked);
        }
        if self.hop.is_none() {
            return Ok(found(redirect::jump_target(self.site, bytes)));
        }
        match redirect::short_jump_target(self.site, bytes) {
            Some(hop) => jump_at(memory, hop),
            None => Ok(SiteContent::Other),
        }
    }

    /// The bytes that are at the entry now.
    fn read<'b>(&self, memory: &Memory, room: &'b mut [u8; JUMP]) -> Result<&'b [u8], ProcessError> {
        let bytes = &mut room[..self.length()];
        memory.read_into(self.site, bytes)?;
        Ok(bytes)
    }

    /// Where the jump leads that was at the entry before somebody set a breakpoint on it, or a uprobe, which
    /// is the same to the process. Taken away, a uprobe leaves the byte that the file has there, whatever it
    /// has found.
    ///
    /// # Errors
    /// When the process is gone, or nothing is mapped there.
    pub(crate) fn below_breakpoint(&self, memory: &Memory) -> Result<Option<u64>, ProcessError> {
        let mut bytes = [0; JUMP];
        let bytes = self.read(memory, &mut bytes)?;
        let Some(jump) = redirect::without_breakpoint(bytes, self.linked(), self.hop.is_some()) else {
            return Ok(None);
        };
        let Some((hop, _)) = self.hop else { return Ok(redirect::jump_target(self.site, &jump)) };
        if redirect::short_jump_target(self.site, &jump) != Some(hop) {
            return Ok(None);
        }
        Ok(match jump_at(memory, hop)? {
            SiteContent::Jump(to) => Some(to),
            SiteContent::Linked | SiteContent::Other => None,
        })
    }

    /// The writes that lead the entry to `to`, in this order.
    ///
    /// # Errors
    /// When that is out of reach.
    pub(crate) fn lead(&self, to: u64) -> Result<Vec<(u64, Vec<u8>)>, ProcessError> {
        let long = |from| {
            redirect::jump(from, to).ok_or_else(|| ProcessError::unfit("a new function is out of reach"))
        };
        let Some((hop, _)) = self.hop else { return Ok(vec![(self.site, long(self.site)?)]) };
        let short = redirect::short_jump(self.site, hop)
            .ok_or_else(|| ProcessError::unfit("padding of an entry is out of reach"))?;
        Ok(vec![(hop, long(hop)?), (self.site, short)])
    }
}

/// The jump at an address, if it is a long one.
pub(crate) fn jump_at(memory: &Memory, address: u64) -> Result<SiteContent, ProcessError> {
    let mut bytes = [0; JUMP];
    memory.read_into(address, &mut bytes)?;
    Ok(found(redirect::jump_target(address, &bytes)))
}

fn found(target: Option<u64>) -> SiteContent {
    target.map_or(SiteContent::Other, SiteContent::Jump)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_filled_before_anything_leads_there() {
        let way = EntrySite { site: 0x1010, original: [0; 8], hop: Some((0x1000, [0x90; 8])) };
        let writes = way.lead(0x2000).unwrap();
        assert_eq!(writes[0], (0x1000, vec![0xe9, 0xfb, 0x0f, 0, 0]));
        assert_eq!(writes[1], (0x1010, vec![0xeb, 0xee]));
        assert_eq!(way.overwritten(), 0x1010..0x1012);
        assert!(EntrySite { hop: Some((0x2000, [0; 8])), ..way }.lead(0x2000).is_err());
        let long = EntrySite { hop: None, ..way }.lead(0x2000).unwrap();
        assert_eq!(long, [(0x1010, vec![0xe9, 0xeb, 0x0f, 0, 0])]);
    }
}

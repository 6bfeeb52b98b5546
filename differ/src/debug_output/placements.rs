//! Finds the linked addresses of the pieces of an object, by the addresses that they have while it is read.

use super::sections::address;
use crate::model::{Extent, LinkedAddress};

/// The pieces, in ascending order of address.
pub(super) struct Placements(Vec<Placement>);

struct Placement {
    start: u64,
    end: u64,
    at: LinkedAddress,
}

/// A range of code that is in the image: its addresses in the object, and the first one in the image.
#[derive(Clone, Copy)]
pub(super) struct CodeRange {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) image: u64,
}

impl CodeRange {
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

impl Placements {
    pub(super) fn new(placements: &[(Extent, LinkedAddress)]) -> Self {
        let placement = |(extent, at): &(Extent, LinkedAddress)| Placement {
            start: address(extent.section, extent.start),
            end: address(extent.section, extent.end),
            at: *at,
        };
        let mut placements: Vec<Placement> = placements.iter().map(placement).collect();
        placements.sort_by_key(|p| (p.start, p.end));
        Self(placements)
    }

    /// The linked address of an address of the object.
    pub(super) fn of(&self, address: u64) -> Option<LinkedAddress> {
        let (placement, offset) = self.last_before(address)?;
        (address < placement.end || offset == 0).then(|| placement.at.plus(offset))
    }

    /// The address in the image of an address of the object, which may be the end of a piece.
    pub(super) fn in_image(&self, address: u64) -> Option<u64> {
        let (placement, offset) = self.last_before(address)?;
        match placement.at {
            LinkedAddress::Image(at) if address <= placement.end => Some(at + offset),
            _ => None,
        }
    }

    fn last_before(&self, address: u64) -> Option<(&Placement, u64)> {
        let after = self.0.partition_point(|p| p.start <= address);
        let placement = self.0.get(after.checked_sub(1)?)?;
        Some((placement, address - placement.start))
    }

    /// The parts of a range that are in the image.
    pub(super) fn code_ranges(&self, start: u64, end: u64) -> impl Iterator<Item = CodeRange> + '_ {
        let first = self.0.partition_point(|p| p.end <= start);
        let placements = self.0.iter().skip(first).take_while(move |p| p.start < end);
        placements.filter_map(move |placement| {
            let LinkedAddress::Image(at) = placement.at else { return None };
            let (from, to) = (start.max(placement.start), end.min(placement.end));
            (from < to).then_some(CodeRange { start: from, end: to, image: at + (from - placement.start) })
        })
    }
}

impl LinkedAddress {
    fn plus(self, offset: u64) -> Self {
        match self {
            Self::Image(at) => Self::Image(at + offset),
            Self::Target(at) => Self::Target(at + offset),
        }
    }
}

//! Where the pieces of an object are, by the addresses that they have while it is read.

use super::sections::address;
use crate::model::{Extent, Settled};

/// Pieces, in ascending order of address.
pub(super) struct Places(Vec<Piece>);

struct Piece {
    start: u64,
    end: u64,
    at: Settled,
}

/// A stretch of code in the image: where it is in the object, and there.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) image: u64,
}

impl Stretch {
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

impl Places {
    pub(super) fn new(places: &[(Extent, Settled)]) -> Self {
        let piece = |(extent, at): &(Extent, Settled)| Piece {
            start: address(extent.section, extent.start),
            end: address(extent.section, extent.end),
            at: *at,
        };
        let mut pieces: Vec<Piece> = places.iter().map(piece).collect();
        pieces.sort_by_key(|p| (p.start, p.end));
        Self(pieces)
    }

    /// Where this is.
    pub(super) fn of(&self, address: u64) -> Option<Settled> {
        let (piece, offset) = self.last_before(address)?;
        (address < piece.end || offset == 0).then(|| piece.at.plus(offset))
    }

    /// Where this is in the image; it may be the end of a piece.
    pub(super) fn in_image(&self, address: u64) -> Option<u64> {
        let (piece, offset) = self.last_before(address)?;
        match piece.at {
            Settled::Image(at) if address <= piece.end => Some(at + offset),
            _ => None,
        }
    }

    fn last_before(&self, address: u64) -> Option<(&Piece, u64)> {
        let after = self.0.partition_point(|p| p.start <= address);
        let piece = self.0.get(after.checked_sub(1)?)?;
        Some((piece, address - piece.start))
    }

    /// What of this range is in the image.
    pub(super) fn stretches(&self, start: u64, end: u64) -> impl Iterator<Item = Stretch> + '_ {
        let first = self.0.partition_point(|p| p.end <= start);
        let pieces = self.0.iter().skip(first).take_while(move |p| p.start < end);
        pieces.filter_map(move |piece| {
            let Settled::Image(at) = piece.at else { return None };
            let (from, to) = (start.max(piece.start), end.min(piece.end));
            (from < to).then_some(Stretch { start: from, end: to, image: at + (from - piece.start) })
        })
    }
}

impl Settled {
    fn plus(self, offset: u64) -> Self {
        match self {
            Self::Image(at) => Self::Image(at + offset),
            Self::Target(at) => Self::Target(at + offset),
        }
    }
}

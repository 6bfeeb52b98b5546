//! What a symbol of a patch object stands for in the target and in the image.

use super::chunk::Place;

/// A thread-local variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Offset in the target's own TLS segment, and the slots that lead to it.
    Own { offset: u64, slots: TlsSlots },
    /// Of another module: only by slots that the target has.
    Imported { slots: TlsSlots },
    /// The patch adds it: offset in the block of each thread.
    New { offset: u64 },
}

/// Slots of the target for a thread-local variable: link-time addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSlots {
    /// Offset from the thread pointer.
    pub(crate) thread_offset: Option<u64>,
    /// Module id and offset.
    pub(crate) pair: Option<u64>,
    /// TLS descriptor.
    pub(crate) descriptor: Option<u64>,
}

/// What a symbol stands for.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    /// Where a call or jump goes: straight to new code.
    pub(crate) call: Place,
    /// Its address as a value: of a replaced function the old one, which stays valid when the patch is taken
    /// out and compares equal to pointers that exist already.
    pub(crate) address: Place,
    /// GOT slot of the target that holds the address.
    pub(crate) slot: Option<u64>,
    pub(crate) function: bool,
    pub(crate) tls: Option<Tls>,
}

impl Resolved {
    /// Something at `place`, whatever it is used for.
    pub(crate) fn at(name: &str, place: Place, function: bool) -> Self {
        Self { name: name.to_owned(), call: place, address: place, slot: None, function, tls: None }
    }
}

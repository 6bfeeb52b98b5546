//! What the rest of the crate asks of the data flow in a function, and what the machines' passes answer.
//!
//! References in code are named by the offsets of their fields in the function.

use std::collections::{BTreeMap, BTreeSet};

/// A counter, see [`super::Arch::counts`].
#[derive(Debug, Clone)]
pub(crate) enum Counter {
    /// A variable: the fields that name it.
    Variable(Vec<u64>),
    /// The member of an object that is so many bytes behind its beginning.
    Member(i64),
}

/// What code does with a counter.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// It counts up.
    pub(crate) up: bool,
    /// It counts down without a look at the counter before.
    pub(crate) down: bool,
}

impl Counts {
    /// Adds what another piece of code does with the counter.
    pub(crate) fn add(&mut self, other: Self) {
        self.up |= other.up;
        self.down |= other.down;
    }
}

/// A member of some object: offset from a pointer, and size, in bytes.
pub(crate) type MemberField = (i64, usize);

/// Where a function gets values from, see [`super::Arch::keeps`]. The fields are sorted.
#[derive(Debug, Default)]
pub(crate) struct ValueSource {
    /// Operands that name a variable.
    pub(crate) variables: Vec<u64>,
    /// Operands of calls that return the source, or a value made from it.
    pub(crate) calls: Vec<u64>,
}

/// How a function uses values that it computes from a [`ValueSource`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// A member that holds a computed value, and that the function also answers from.
    pub(crate) answered_from: Option<MemberField>,
    /// A member that holds such a value. The function compares it with such a value elsewhere.
    pub(crate) compared: Option<MemberField>,
    /// The function returns a value that comes from the source.
    pub(crate) returns: bool,
}

/// What deals with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    /// A function, by the number that the caller of [`super::Arch::members`] gave it.
    Call(usize),
    /// A counter in the object that the value points to goes up by one.
    Raise,
    /// A counter in the object that the value points to goes down by one.
    Lower,
}

/// For members, by their offset from a pointer in bytes, what deals with their values.
pub(crate) type ActorsByMember = BTreeMap<i64, BTreeSet<Actor>>;

/// What code does with the values of members.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberUse {
    /// Members that hold what these functions returned.
    pub(crate) made: ActorsByMember,
    /// Members that hold what these also got.
    pub(crate) kept: ActorsByMember,
    /// Members whose values these get.
    pub(crate) given: ActorsByMember,
    /// Members that some pointer is put into.
    pub(crate) stored: BTreeSet<i64>,
    /// Members that are read; `true`: before, in the order of the bytes, anything is put there.
    pub(crate) read: BTreeMap<i64, bool>,
    /// Members that hold the result of a function, with the first two arguments of the call.
    pub(crate) sized: BTreeMap<i64, BTreeSet<(Actor, FirstArguments)>>,
}

/// The first two arguments of a call, as far as they are known.
pub(crate) type FirstArguments = [Option<Amount>; 2];

/// A number: so much more than something that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Amount {
    /// `None`: the number is a constant.
    pub(crate) of: Option<ValueOrigin>,
    pub(crate) plus: i64,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ValueOrigin {
    /// An argument, by number.
    Argument(usize),
    /// What a call returned, with the offset of the call in the code.
    Result(Actor, u64),
    /// A member of something, by its offset.
    Member(i64),
}

/// Where a function refers to its labels (`&&label`). The offsets are sorted.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Fields that refer to a table of labels.
    pub(crate) tables: Vec<u64>,
    /// Fields that refer to a label.
    pub(crate) labels: Vec<u64>,
    /// Where an indirect jump may lead; empty where not all such offsets are known.
    pub(crate) entries: Vec<u64>,
}

/// What a function does with addresses of its labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LabelUse {
    /// The values get to memory that outlives the call, to another function or to the caller.
    pub(crate) escapes: bool,
    /// It jumps to an address that does not come straight from a table of its labels.
    pub(crate) jumps: bool,
    /// It jumps to a distance from a label that does not come straight from a table.
    pub(crate) jumps_by_distance: bool,
}

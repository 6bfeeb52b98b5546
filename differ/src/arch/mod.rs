//! What depends on the instruction set: the folder of a machine holds all of it, and the rest of the crate
//! asks through [`Arch`].

mod code;
mod flow;
mod machine;
mod relocations;
pub mod x86_64;

pub(crate) use code::{Code, Field, Instruction};
pub(crate) use flow::{
    Actor, ActorsByMember, Amount, Counter, Counts, FirstArguments, LabelUse, Labels, MemberField, MemberUse,
    ValueOrigin, ValueSource,
};
pub(crate) use machine::{Arch, known, of};
pub use machine::{relocation_name, relocation_type};
pub use relocations::{Computes, Range, ReadBy, Relaxation, RelocationType, Rewrites, Tls};

//! Reads debug information (DWARF 4 and 5) as far as a comparison needs it: scopes of static locals, layouts
//! of types.

mod arguments;
mod declared;
mod entries;
mod inlined;
mod meaning;
mod origins;
mod sections;
mod statics;
mod types;
mod walk;

pub(crate) use arguments::{Arguments, InitialPlace, Variable, read as read_arguments};
pub(crate) use declared::read as read_declarations;
pub(crate) use inlined::read as read_inlining;
pub(crate) use origins::read as read_origins;
pub(crate) use statics::{Static, read as read_statics};
pub(crate) use types::{Layout, Member, TypeId, Types};
pub(crate) use walk::{Function, Info, OF_FUNCTION, SCOPE, read};

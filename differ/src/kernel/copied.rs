//! Data that macros and the compiler make for a function, with a number in its name that says nothing: one
//! more warning in the file, and each has the name that another had. Such data is compared by content where
//! something refers to it, and each shipped function brings a copy.
//!
//! Only what may begin anew is here: a flag that a warning was given, a limit of messages, a description. The
//! flag of something that must happen once, as `___done` of `DO_ONCE`, is live data.

use crate::model::Binding;
use crate::unit::{Section, Symbol};

/// Names of static locals before the compiler's number.
const NAMES: [&str; 13] = [
    "__already_done",
    "__warned",
    "__print_once",
    "__func__",
    "__FUNCTION__",
    "__PRETTY_FUNCTION__",
    "__msg",
    "_rs",
    "__key",
    "_entry",
    "_entry_ptr",
    "CSWTCH",
    "descriptor",
];

/// Beginning of the names of pointers that only keep what they point to from being left out of the object.
const KEPT: &str = "__UNIQUE_ID___addressable_";
/// Sections of descriptions of messages for dynamic debugging.
const MESSAGES: [&str; 2] = ["__dyndbg", "__verbose"];

/// Is it such data?
pub(crate) fn is_copied(section: &Section<'_>, symbol: &Symbol<'_>) -> bool {
    if symbol.binding != Binding::Local || section.is_text() {
        return false;
    }
    let numbered = || {
        let (name, number) = symbol.name.split_once('.')?;
        (number.bytes().all(|b| b.is_ascii_digit()) && NAMES.contains(&name)).then_some(())
    };
    MESSAGES.contains(&&*section.name) || symbol.name.starts_with(KEPT) || numbered().is_some()
}

//! Which atom of the patched unit is which atom of the original.
//!
//! For functions a wrong pair costs precision only: references are compared by pair, so both ends would count
//! as changed. For live data a wrong pair would make new code use another variable. Therefore static locals
//! are paired by the function they belong to, and what stays ambiguous is left for a refusal.

mod by_owner;
mod by_scope;
mod fingerprint;
mod names;
mod pairs;
mod scopes;
mod shifted;

pub(crate) use fingerprint::fingerprint;
pub(crate) use names::correlate;
pub(crate) use pairs::Pairs;
pub(crate) use scopes::{Scopes, needed as needs_scopes};

//! What happens when a build calls one of our links: the real tool runs, and what it did is recorded.

pub(crate) mod assemble;
pub(crate) mod call;
pub(crate) mod compile;
pub(crate) mod copy;
pub(crate) mod environment;
pub(crate) mod late_fix;
pub(crate) mod link;
pub(crate) mod parent;
pub(crate) mod run;

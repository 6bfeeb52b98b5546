//! What the end-to-end tests and the benchmarks share: building packages, running the programs of upatch,
//! talking to daemons.

pub mod build_cost;
pub mod builds;
pub mod cases;
pub mod comments;
pub mod corpus;
pub mod daemon;
pub mod differ_speed;
pub mod fidelity;
pub mod folders;
pub mod kernel_cases;
pub mod kernel_figures;
pub mod kernel_fixes;
pub mod kernel_inputs;
pub mod kernel_keys;
pub mod kernels;
pub mod latency;
pub mod livepatch;
pub mod load;
pub mod lock;
pub mod matrix;
pub mod overlay;
pub mod package;
pub mod paths;
pub mod programs;
pub mod random;
pub mod run;
pub mod shipped;
pub mod soak;
pub mod vm;
pub mod walk;
pub mod words;

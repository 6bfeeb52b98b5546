//! The target process: its memory map, modules, threads and stacks.

pub(crate) mod auxv;
pub(crate) mod cache;
pub(crate) mod code_cave;
pub(crate) mod elf;
pub(crate) mod frames;
pub(crate) mod hidden;
pub(crate) mod identity;
pub(crate) mod linkmap;
pub(crate) mod loader;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod modules;
pub(crate) mod own;
pub(crate) mod pages;
pub(crate) mod pieces;
pub(crate) mod process;
pub(crate) mod procfile;
mod replaced;
pub(crate) mod restart;
pub(crate) mod sleepers;
pub(crate) mod stack;
pub(crate) mod status;
pub(crate) mod steps;
pub(crate) mod switches;
pub(crate) mod symbols;
pub(crate) mod threads;
pub(crate) mod unwind;

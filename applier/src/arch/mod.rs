//! What the applier does differently on each machine: one folder for each, with the same names in all of
//! them. The compiler takes the folder of the machine that `upatch` is built for. No register, instruction,
//! relocation or system call of one machine is named outside of this folder and of [`crate::sys`].
//!
//! | file | has |
//! |---|---|
//! | `registers` | [`Registers`] of a stopped thread: program counter, pointers, call, DWARF numbers |
//! | `borrow` | registers for a thread that runs something for us, and how it comes back |
//! | `frame` | the signal frame that puts a thread back where it was |
//! | `gadgets` | instructions that are borrowed from the process |
//! | `batch` | code that makes several system calls in one go |
//! | `redirect` | jumps at the entries of functions |
//! | `rendezvous` | what becomes of the function that the dynamic loader calls for debuggers |
//! | `calls` | lists of system calls; what is not the same of them on all machines |
//! | `unwind` | rules that hold where unwind tables say nothing |
//! | `no_unwind` | code of C libraries without unwind tables |
//! | `saved` | registers that C libraries have saved (`ucontext_t`, `jmp_buf`) |
//! | `stack_switch` | instructions by which code goes to another stack |
//! | `thread` | what C libraries note about a thread |
//! | `traps` | what breakpoints and uprobes of others look like |
//! | `facts` | numbers |

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::{
    ARCH, FACTS, RED_ZONE, RELATIVE, Registers, SHADOW_STACK, batch, borrow, calls, frame, gadgets,
    no_unwind, redirect, rendezvous, saved, stack_switch, thread, traps, unwind,
};

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "there is no folder for this machine in applier/src/arch; it has to have what is listed there"
);

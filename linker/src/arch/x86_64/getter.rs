//! `__tls_get_addr` for the thread-local variables that a patch adds, made as machine code.
//!
//! Each thread has one block with all of them, found by a key of `pthread_key_create` and made when the
//! thread first asks for it. The key's destructor is `free` of the C library: no code of the image runs at
//! the end of a thread. Like `__tls_get_addr` it keeps `errno`, takes a stack that is not aligned, and ends
//! the process where there is no memory.

use patchfile::image::RelocationKind;

use super::{RBP, RBX, RSP};
use crate::arch::{Block, CLibrary, Control};
use crate::chunks::{Change, Chunk, Chunks, Fixup, Place, program};

/// What `calloc` aligns to (psABI: `max_align_t`).
const ALIGNED: u32 = 16;

/// Code with fields and jumps to fill in.
#[derive(Default)]
struct Assembler {
    code: Vec<u8>,
    fixups: Vec<Fixup>,
    frame: Vec<(u64, Change)>,
}

impl Assembler {
    fn at(&self) -> u64 {
        self.code.len() as u64
    }

    fn put(&mut self, bytes: &[u8]) {
        self.code.extend_from_slice(bytes);
    }

    /// An instruction that ends with a 32-bit number.
    fn number(&mut self, opcode: &[u8], value: u32) {
        self.put(opcode);
        self.put(&value.to_le_bytes());
    }

    /// An instruction that ends with the distance to `to`.
    fn relative(&mut self, opcode: &[u8], to: Place) {
        self.put(opcode);
        let offset = self.at();
        self.fixups.push(Fixup { offset, kind: RelocationKind::Pc32, to, addend: -4 });
        self.put(&[0; 4]);
    }

    fn call(&mut self, slot: Place) {
        self.relative(&[0xff, 0x15], slot);
    }

    /// A jump to a place in this code that is not known yet; returns its field.
    fn jump(&mut self, opcode: &[u8]) -> usize {
        self.number(opcode, 0);
        self.code.len() - 4
    }

    /// The jumps of these fields lead to here, or to `place`.
    fn land(&mut self, fields: &[usize], place: usize) {
        for field in fields {
            // A block has at most 2^24 bytes, and so few templates that all code is far shorter than 2 GiB.
            let distance = place.wrapping_sub(field + 4) as u32;
            if let Some(bytes) = self.code.get_mut(*field..field + 4) {
                bytes.copy_from_slice(&distance.to_le_bytes());
            }
        }
    }

    /// From here on this holds for an unwinder.
    fn unwind(&mut self, changes: &[Change]) {
        let at = self.at();
        self.frame.extend(changes.iter().map(|change| (at, *change)));
    }

    /// `call *abort; ud2`, for the jumps of these fields.
    fn fail(&mut self, fields: &[usize], abort: Place) {
        self.land(fields, self.code.len());
        self.call(abort);
        self.put(&[0x0f, 0x0b]);
    }

    fn finish(self, name: &str, chunks: &mut Chunks) -> Place {
        let frame = program(&self.frame);
        let size = self.at();
        let chunk = chunks.add(Chunk::code(name, self.code, self.fixups));
        chunks.describe(chunk, size, frame);
        Place::Chunk { chunk, offset: 0 }
    }
}

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const JE: [u8; 2] = [0x0f, 0x84];
const JNE: [u8; 2] = [0x0f, 0x85];
const TEST_EAX: [u8; 2] = [0x85, 0xc0];
const TEST_RAX: [u8; 3] = [0x48, 0x85, 0xc0];

/// Adds the getter, with the function that makes its key.
pub(super) fn add(block: &Block, library: &CLibrary, control: Control, chunks: &mut Chunks) -> Place {
    let make = make_key(library, control).finish("tls.key", chunks);
    get(block, library, control, make).finish("tls.get", chunks)
}

/// `void make(void)`, for `pthread_once`.
fn make_key(library: &CLibrary, control: Control) -> Assembler {
    let mut asm = Assembler::default();
    asm.put(&ENDBR64);
    asm.put(&[0x48, 0x83, 0xec, 0x18]); // sub $24,%rsp
    asm.unwind(&[Change::Depth(32)]);
    asm.put(&[0x48, 0x8d, 0x7c, 0x24, 0x08]); // lea 8(%rsp),%rdi
    asm.relative(&[0x48, 0x8b, 0x35], library.free); // mov free,%rsi
    asm.call(library.key_create);
    asm.put(&TEST_EAX);
    let failed = asm.jump(&JNE);
    asm.put(&[0x8b, 0x44, 0x24, 0x08]); // mov 8(%rsp),%eax
    asm.put(&[0xff, 0xc0]); // inc %eax
    asm.relative(&[0x89, 0x05], control.key); // mov %eax,key
    asm.put(&[0x48, 0x83, 0xc4, 0x18]); // add $24,%rsp
    asm.unwind(&[Change::Depth(8)]);
    asm.put(&[0xc3]);
    asm.unwind(&[Change::Depth(32)]);
    asm.fail(&[failed], library.abort);
    asm
}

/// `void *get(struct { unsigned long unused, offset; } *pair)`.
fn get(block: &Block, library: &CLibrary, control: Control, make: Place) -> Assembler {
    let mut asm = Assembler::default();
    let in_frame = [Change::Cfa(RBP, 16), Change::Saved(RBP, 2), Change::Saved(RBX, 3)];
    asm.put(&ENDBR64);
    asm.put(&[0x55]); // push %rbp
    asm.unwind(&[Change::Depth(16), Change::Saved(RBP, 2)]);
    asm.put(&[0x48, 0x89, 0xe5]); // mov %rsp,%rbp
    asm.unwind(&[Change::Cfa(RBP, 16)]);
    asm.put(&[0x53]); // push %rbx
    asm.unwind(&[Change::Saved(RBX, 3)]);
    asm.put(&[0x48, 0x83, 0xec, 0x18]); // sub $24,%rsp
    asm.put(&[0x48, 0x83, 0xe4, 0xf0]); // and $-16,%rsp
    asm.put(&[0x48, 0x8b, 0x5f, 0x08]); // mov 8(%rdi),%rbx
    asm.relative(&[0x8b, 0x3d], control.key); // mov key,%edi
    asm.put(&[0x85, 0xff]); // test %edi,%edi
    let no_key = asm.jump(&JE);
    asm.put(&[0xff, 0xcf]); // dec %edi
    asm.call(library.getspecific);
    asm.put(&TEST_RAX);
    let no_block = asm.jump(&JE);
    let done = asm.code.len();
    if block.align > ALIGNED {
        asm.number(&[0x48, 0x8d, 0x80], block.align - 1); // lea align-1(%rax),%rax
        asm.number(&[0x48, 0x25], block.align.wrapping_neg()); // and $-align,%rax
    }
    asm.put(&[0x48, 0x01, 0xd8]); // add %rbx,%rax
    asm.put(&[0x48, 0x8b, 0x5d, 0xf8]); // mov -8(%rbp),%rbx
    asm.put(&[0xc9]); // leave
    asm.unwind(&[Change::Cfa(RSP, 8), Change::Same(RBP), Change::Same(RBX)]);
    asm.put(&[0xc3]); // ret
    asm.unwind(&in_frame);
    asm.land(&[no_key, no_block], asm.code.len());
    make_block(&mut asm, block, library, control, make);
    let back = asm.jump(&[0xe9]);
    asm.land(&[back], done);
    asm
}

/// The first use in a thread, which leaves the block in `%rax`. At -16(%rbp) is the `errno` that is kept, at
/// -24(%rbp) the block.
fn make_block(asm: &mut Assembler, block: &Block, library: &CLibrary, control: Control, make: Place) {
    asm.call(library.errno_location);
    asm.put(&[0x8b, 0x00]); // mov (%rax),%eax
    asm.put(&[0x89, 0x45, 0xf0]); // mov %eax,-16(%rbp)
    asm.relative(&[0x48, 0x8d, 0x3d], control.once); // lea once,%rdi
    asm.relative(&[0x48, 0x8d, 0x35], make); // lea make,%rsi
    asm.call(library.once);
    asm.put(&TEST_EAX);
    let no_once = asm.jump(&JNE);
    let slack = if block.align > ALIGNED { block.align } else { 0 };
    asm.number(&[0xbf], block.size + slack); // mov $size,%edi
    asm.number(&[0xbe], 1); // mov $1,%esi
    asm.call(library.calloc);
    asm.put(&TEST_RAX);
    let no_memory = asm.jump(&JE);
    asm.put(&[0x48, 0x89, 0x45, 0xe8]); // mov %rax,-24(%rbp)
    asm.put(&[0x48, 0x89, 0xc2]); // mov %rax,%rdx
    if block.align > ALIGNED {
        asm.number(&[0x48, 0x8d, 0x90], block.align - 1); // lea align-1(%rax),%rdx
        asm.number(&[0x48, 0x81, 0xe2], block.align.wrapping_neg()); // and $-align,%rdx
    }
    for (chunk, offset, size) in &block.templates {
        asm.number(&[0x48, 0x8d, 0xba], *offset); // lea offset(%rdx),%rdi
        asm.relative(&[0x48, 0x8d, 0x35], Place::Chunk { chunk: *chunk, offset: 0 }); // lea template,%rsi
        asm.number(&[0xb9], *size); // mov $size,%ecx
        asm.put(&[0xf3, 0xa4]); // rep movsb
    }
    asm.relative(&[0x8b, 0x3d], control.key); // mov key,%edi
    asm.put(&[0xff, 0xcf]); // dec %edi
    asm.put(&[0x48, 0x89, 0xc6]); // mov %rax,%rsi
    asm.call(library.setspecific);
    asm.put(&TEST_EAX);
    let not_set = asm.jump(&JNE);
    asm.call(library.errno_location);
    asm.put(&[0x8b, 0x4d, 0xf0]); // mov -16(%rbp),%ecx
    asm.put(&[0x89, 0x08]); // mov %ecx,(%rax)
    asm.put(&[0x48, 0x8b, 0x45, 0xe8]); // mov -24(%rbp),%rax
    let over = asm.jump(&[0xe9]);
    asm.fail(&[no_once, no_memory, not_set], library.abort);
    asm.land(&[over], asm.code.len());
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

    use super::*;

    fn library() -> CLibrary {
        let slot = |n| Place::Outside(n);
        CLibrary {
            abort: slot(10),
            calloc: slot(11),
            errno_location: slot(12),
            free: slot(13),
            getspecific: slot(14),
            key_create: slot(15),
            once: slot(16),
            setspecific: slot(17),
        }
    }

    const CONTROL: Control =
        Control { once: Place::Chunk { chunk: 1, offset: 0 }, key: Place::Chunk { chunk: 1, offset: 4 } };

    fn decode(asm: &Assembler) -> Vec<Instruction> {
        let all: Vec<Instruction> = Decoder::with_ip(64, &asm.code, 0, DecoderOptions::NONE).iter().collect();
        assert!(all.iter().all(|i| !i.is_invalid()));
        assert_eq!(all.iter().map(Instruction::len).sum::<usize>(), asm.code.len());
        // Every jump leads to an instruction, every field is the whole displacement of one.
        for i in all.iter().filter(|i| {
            matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
        }) {
            assert!(all.iter().any(|to| to.ip() == i.near_branch64()), "{i}");
        }
        for fixup in &asm.fixups {
            let holder = all.iter().find(|i| i.next_ip() == fixup.offset + 4);
            assert!(holder.is_some_and(|i| i.is_ip_rel_memory_operand()), "{fixup:?}");
        }
        // Rules change at the borders of instructions.
        for (at, change) in &asm.frame {
            assert!(all.iter().any(|i| i.ip() == *at), "{change:?} at {at}");
        }
        all
    }

    fn text(asm: &Assembler) -> Vec<String> {
        decode(asm).iter().map(Instruction::to_string).collect()
    }

    #[test]
    fn way_of_a_thread_that_has_its_block() {
        let block = Block { size: 8, align: 8, templates: Vec::new() };
        let asm = get(&block, &library(), CONTROL, Place::Chunk { chunk: 2, offset: 0 });
        let all = decode(&asm);
        let end = all.iter().position(|i| i.flow_control() == FlowControl::Return).unwrap();
        let calls: Vec<Place> =
            asm.fixups.iter().filter(|f| f.offset < all[end].ip()).map(|f| f.to).collect();
        assert_eq!(calls, [CONTROL.key, Place::Outside(14)], "one look at the key and one call");
        assert_eq!(text(&asm)[end - 3..=end], ["add rax,rbx", "mov rbx,[rbp-8]", "leave", "ret"]);
        assert!(asm.code.starts_with(&ENDBR64));
    }

    #[test]
    fn block_with_an_alignment_of_its_own() {
        let block = Block { size: 100, align: 64, templates: vec![(7, 64, 20), (8, 96, 3)] };
        let asm = get(&block, &library(), CONTROL, Place::Chunk { chunk: 2, offset: 0 });
        let text = text(&asm);
        assert_eq!(
            text.iter().filter(|t| *t == "lea rax,[rax+3Fh]" || *t == "and rax,0FFFFFFFFFFFFFFC0h").count(),
            2
        );
        assert!(text.contains(&"mov edi,0A4h".to_owned()), "room to align: {text:#?}");
        let copies: Vec<&[String]> = text.windows(4).filter(|w| w[3].starts_with("rep movsb")).collect();
        let wanted = [("lea rdi,[rdx+40h]", "mov ecx,14h"), ("lea rdi,[rdx+60h]", "mov ecx,3")];
        assert_eq!(copies.iter().map(|c| (c[0].as_str(), c[2].as_str())).collect::<Vec<_>>(), wanted);
        for chunk in [7, 8] {
            assert!(asm.fixups.iter().any(|f| f.to == Place::Chunk { chunk, offset: 0 }));
        }
    }

    #[test]
    fn key_is_made_with_free_of_the_library() {
        let asm = make_key(&library(), CONTROL);
        decode(&asm);
        let to: Vec<Place> = asm.fixups.iter().map(|f| f.to).collect();
        assert_eq!(to, [Place::Outside(13), Place::Outside(15), CONTROL.key, Place::Outside(10)]);
    }
}

//! Stubs for calls that return through the end of a function of the target.

use patchfile::image::RelocationKind;

use super::RBP;
use crate::arch::{Epilogue, Saves};
use crate::chunks::{Change, Chunk, Fixup, Place, Returning, program};

/// The stub that leads to `to`. Who calls from the image returns through the target; a jump at the end of a
/// function, from elsewhere, is left as it is.
pub(super) fn stub(to: Place, epilogue: Epilogue) -> Returning {
    let kind = RelocationKind::Pc32;
    let (mut code, mut fixups) = (Vec::new(), Vec::new());
    let mut field = |code: &mut Vec<u8>, to: Place| {
        fixups.push(Fixup { offset: code.len() as u64, kind, to, addend: -4 });
        code.extend_from_slice(&[0; 4]);
    };
    // mov (%rsp), %rax; lea image(%rip), %r11; sub %r11, %rax; cmp $size, %rax; jae
    code.extend_from_slice(&[0x48, 0x8b, 0x04, 0x24, 0x4c, 0x8d, 0x1d]);
    field(&mut code, Place::Control(0));
    code.extend_from_slice(&[0x4c, 0x29, 0xd8, 0x48, 0x3d]);
    let size_at = code.len() as u64;
    code.extend_from_slice(&[0, 0, 0, 0, 0x73, 0]);
    let branch = code.len();
    code.extend_from_slice(match epilogue.saves {
        Saves::Nothing => &[0x41, 0x53],
        Saves::Register(12) => &[0x41, 0x54],
        Saves::Register(13) => &[0x41, 0x55],
        Saves::Register(14) => &[0x41, 0x56],
        Saves::Register(15) => &[0x41, 0x57],
        Saves::Register(RBP) | Saves::FramePointer => &[0x55],
        Saves::Register(_) => &[0x53],
    });
    let mut unwind = vec![(code.len() as u64, Change::Depth(16))];
    let saved = match epilogue.saves {
        Saves::Nothing => None,
        Saves::Register(register) => Some(register),
        Saves::FramePointer => Some(RBP),
    };
    unwind.extend(saved.map(|register| (code.len() as u64, Change::Saved(register, 2))));
    if epilogue.saves == Saves::FramePointer {
        code.extend_from_slice(&[0x48, 0x89, 0xe5]);
    }
    // lea epilogue(%rip), %r11; push %r11; jmp
    code.extend_from_slice(&[0x4c, 0x8d, 0x1d]);
    field(&mut code, Place::Target(epilogue.address));
    code.extend_from_slice(&[0x41, 0x53]);
    unwind.push((code.len() as u64, Change::Depth(24)));
    code.push(0xe9);
    field(&mut code, to);
    let plain = code.len() as u64;
    unwind.push((plain, Change::Depth(8)));
    unwind.extend(saved.map(|register| (plain, Change::Same(register))));
    // What is between them has less than 30 bytes.
    code[branch - 1] = (code.len() - branch) as u8;
    code.push(0xe9);
    field(&mut code, to);
    Returning { chunk: Chunk::code("call.inside", code, fixups), size_at, program: program(&unwind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::x86_64::RBX;
    use iced_x86::{Decoder, DecoderOptions};

    fn text(saves: Saves) -> Vec<String> {
        let stub = stub(Place::Target(0x2000), Epilogue { address: 0x1000, saves });
        let decoder = &mut Decoder::new(64, &stub.chunk.data, DecoderOptions::NONE);
        decoder.iter().map(|i| i.to_string()).collect()
    }

    #[test]
    fn stub_has_two_words_on_the_stack_or_none() {
        for (saves, first) in [
            (Saves::Nothing, "push r11"),
            (Saves::Register(RBX), "push rbx"),
            (Saves::Register(12), "push r12"),
            (Saves::Register(15), "push r15"),
            (Saves::FramePointer, "push rbp"),
        ] {
            let text = text(saves);
            let at = text.iter().position(|t| t.starts_with("jae")).unwrap();
            assert_eq!(text[at + 1], first, "{text:?}");
            assert_eq!(text.iter().filter(|t| t.starts_with("push")).count(), 2, "{text:?}");
            assert_eq!(text.iter().filter(|t| t.starts_with("jmp")).count(), 2, "{text:?}");
        }
        assert!(text(Saves::FramePointer).iter().any(|t| t == "mov rbp,rsp"));
    }

    #[test]
    fn jump_leads_to_the_last_instruction() {
        let stub = stub(Place::Target(0x2000), Epilogue { address: 0x1000, saves: Saves::FramePointer });
        let decoder = &mut Decoder::new(64, &stub.chunk.data, DecoderOptions::NONE);
        let all: Vec<_> = decoder.iter().collect();
        let branch = all.iter().find(|i| i.is_jcc_short()).unwrap();
        assert_eq!(branch.near_branch64(), all.last().unwrap().ip());
    }
}

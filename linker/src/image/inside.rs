//! Calls of functions that ask which module called them: they return through the target, see [`crate::image::epilogue`].

use differ::{Refusal, Relocation};
use patchfile::image::RelocationKind;
use std::cell::OnceCell;
use std::collections::HashSet;

use crate::chunks::chunk::{Chunk, Fixup, Place};
use crate::chunks::frames::{self, Change, RBP};
use crate::chunks::pool::Pieces;
use crate::image::epilogue::{self, Epilogue, Takes};
use crate::image::relocate::Site;
use crate::image::resolve::{Resolved, Resolver};
use crate::image::tail_calls;

/// Functions of the C library that go by the module of their return address, and whether a caller outside of every module is taken for
/// the program: then a program's own patch may call them as it is (glibc, `elf/dl-open.c`, `elf/dl-sym.c`).
const ASKING: [(&str, bool); 4] = [("dlsym", false), ("dlvsym", false), ("dlopen", true), ("dlmopen", true)];

/// Title of the refusals.
const WHAT: &str = "function that asks which module calls it";

/// Where calls can return through.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    /// Code that the patch replaces: address and size in the target.
    replaced: Vec<(u64, u64)>,
    epilogue: OnceCell<Option<Epilogue>>,
    /// Functions of the target that hand on who calls them.
    handing_on: OnceCell<HashSet<u64>>,
}

impl Inside {
    pub(crate) fn new(replaced: Vec<(u64, u64)>) -> Self {
        Self { replaced, ..Self::default() }
    }
}

/// The stub for a call or jump to a function that asks for its caller; `None` for all others.
pub(crate) fn stub(
    resolver: &Resolver<'_, '_>,
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    pieces: &mut Pieces,
) -> Result<Option<Place>, Refusal> {
    let name = symbol.name.as_str();
    if hands_on(resolver, symbol) && is_branch(site, reloc, pieces) {
        return Err(site.refuse(
            WHAT,
            reloc,
            format!("{name} ends with a jump to such a function, which then sees who called {name}: code that is in no module"),
            "do in the changed function what it does, and call `dlsym` or `dlopen` there",
        ));
    }
    let Some((_, program)) = ASKING.iter().find(|(asking, _)| *asking == name) else { return Ok(None) };
    let own = resolver.globals.contains_key(name) || !matches!(resolver.linked.global(name), Ok(None));
    if own || (*program && resolver.target.executable) || !is_branch(site, reloc, pieces) {
        return Ok(None);
    }
    let find = || epilogue::find(resolver.target, &resolver.inside.replaced);
    match resolver.inside.epilogue.get_or_init(find) {
        Some(epilogue) => Ok(Some(pieces.call_inside(symbol.call, *epilogue))),
        None => Err(site.refuse(
            WHAT,
            reloc,
            format!("{name} goes by its return address, and the target has no code that a call could return through"),
            "leave the call in a function that the fix does not change",
        )),
    }
}

/// Is it an unchanged function of the target that ends with a jump to one that asks for its caller?
fn hands_on(resolver: &Resolver<'_, '_>, symbol: &Resolved) -> bool {
    if !symbol.function || matches!(symbol.call, Place::Chunk { .. }) && symbol.slot.is_none() {
        return false;
    }
    let find = || {
        let asking = ASKING.iter().filter(|(_, program)| !(*program && resolver.target.executable));
        let names: Vec<&str> = asking.map(|(name, _)| *name).collect();
        tail_calls::leading_to(resolver.target, &names)
    };
    let handing_on = resolver.inside.handing_on.get_or_init(find);
    // What another module may take over is called through a table.
    let own = || {
        let found = resolver.linked.global(&symbol.name).ok().flatten()?;
        resolver.translate(&symbol.name, "", &found).ok()
    };
    let known = |place: Place| matches!(place, Place::Target(address) if handing_on.contains(&address));
    !handing_on.is_empty() && (known(symbol.call) || own().is_some_and(|a| known(Place::Target(a))))
}

/// `call` or `jmp`, to the function itself or by a word that holds its address.
pub(crate) fn is_branch(site: Site<'_>, reloc: &Relocation, pieces: &Pieces) -> bool {
    let before = |n: u64| {
        let start = reloc.offset.checked_sub(n)?;
        pieces.chunks.get(site.chunk)?.bytes(start, usize::try_from(n).ok()?)
    };
    matches!(before(1), Some([0xe8 | 0xe9])) || matches!(before(2), Some([0xff, 0x15 | 0x25]))
}

/// Code of a stub: its fields, the offset of the word that takes the size of the image, and the instructions of its FDE.
pub(crate) struct Code {
    pub(crate) chunk: Chunk,
    pub(crate) size_at: u64,
    pub(crate) unwind: Vec<u8>,
}

/// The stub that leads to `to`. Who calls from the image returns through the target; a jump at the end of a function, from elsewhere, is
/// left as it is.
pub(crate) fn code(to: Place, epilogue: Epilogue) -> Code {
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
    code.extend_from_slice(match epilogue.takes {
        Takes::Nothing => &[0x41, 0x53],
        Takes::Register(12) => &[0x41, 0x54],
        Takes::Register(13) => &[0x41, 0x55],
        Takes::Register(14) => &[0x41, 0x56],
        Takes::Register(15) => &[0x41, 0x57],
        Takes::Register(RBP) | Takes::Frame => &[0x55],
        Takes::Register(_) => &[0x53],
    });
    let mut unwind = vec![(code.len() as u64, Change::Depth(16))];
    let saved = match epilogue.takes {
        Takes::Nothing => None,
        Takes::Register(register) => Some(register),
        Takes::Frame => Some(RBP),
    };
    unwind.extend(saved.map(|register| (code.len() as u64, Change::Saved(register, 2))));
    if epilogue.takes == Takes::Frame {
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
    code[branch - 1] = u8::try_from(code.len() - branch).unwrap_or(0);
    code.push(0xe9);
    field(&mut code, to);
    Code { chunk: Chunk::code("call.inside", code, fixups), size_at, unwind: frames::program(&unwind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn text(takes: Takes) -> Vec<String> {
        let stub = code(Place::Target(0x2000), Epilogue { address: 0x1000, takes });
        let decoder = &mut Decoder::new(64, &stub.chunk.data, DecoderOptions::NONE);
        decoder.iter().map(|i| i.to_string()).collect()
    }

    #[test]
    fn stub_has_two_words_on_the_stack_or_none() {
        for (takes, first) in [
            (Takes::Nothing, "push r11"),
            (Takes::Register(frames::RBX), "push rbx"),
            (Takes::Register(12), "push r12"),
            (Takes::Register(15), "push r15"),
            (Takes::Frame, "push rbp"),
        ] {
            let text = text(takes);
            let at = text.iter().position(|t| t.starts_with("jae")).unwrap();
            assert_eq!(text[at + 1], first, "{text:?}");
            assert_eq!(text.iter().filter(|t| t.starts_with("push")).count(), 2, "{text:?}");
            assert_eq!(text.iter().filter(|t| t.starts_with("jmp")).count(), 2, "{text:?}");
        }
        assert!(text(Takes::Frame).iter().any(|t| t == "mov rbp,rsp"));
    }

    #[test]
    fn jump_leads_to_the_last_instruction() {
        let stub = code(Place::Target(0x2000), Epilogue { address: 0x1000, takes: Takes::Frame });
        let decoder = &mut Decoder::new(64, &stub.chunk.data, DecoderOptions::NONE);
        let all: Vec<_> = decoder.iter().collect();
        let branch = all.iter().find(|i| i.is_jcc_short()).unwrap();
        assert_eq!(branch.near_branch64(), all.last().unwrap().ip());
    }
}

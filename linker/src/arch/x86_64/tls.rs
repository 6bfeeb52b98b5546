//! Thread-local variables of the target, in all four models (ELF Handling for Thread-Local Storage, 4.4 and
//! 5.5; psABI).
//!
//! In a program the offset from the thread pointer is a constant, so the two dynamic models are rewritten to
//! local-exec, as the linker does. In a shared object the module id comes from a word that the dynamic loader
//! has filled in. A variable that the patch adds is in no module's segment: where the code asks
//! `__tls_get_addr` for it, it asks a function of the image instead (`getter.rs`).

use differ::{Refusal, Relocation};
use patchfile::image::RelocationKind;

use super::{E_MACHINE, X86_64, r};
use crate::arch::{Reading, Site, Surroundings, TlsBase};
use crate::chunks::{Chunks, Fixup, Place, Resolved, Tls, TlsSlots};
use crate::error::refusal;

fn name(kind: u32) -> String {
    differ::arch::relocation_name(E_MACHINE, kind)
}

/// `mov %fs:0,%rax`
const LOAD_TP: [u8; 9] = [0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0];

struct Field<'s, 'p> {
    site: Site<'s>,
    reloc: &'s Relocation,
    chunks: &'p mut Chunks,
}

impl Field<'_, '_> {
    fn refuse(&self, why: String, remedy: &str) -> Refusal {
        self.site.refuse("thread-local storage", self.reloc, why, remedy)
    }

    fn unknown_sequence(&self) -> Refusal {
        let why = format!("{} is not in a code sequence of the TLS ABI", name(self.reloc.r_type));
        self.refuse(why, "report it")
    }

    /// Writes code at a distance from the field.
    fn edit(&mut self, distance: i64, bytes: &[u8]) -> Result<(), Refusal> {
        let at = self.reloc.offset.checked_add_signed(distance);
        let done =
            at.zip(self.chunks.chunks.get_mut(self.site.chunk)).is_some_and(|(at, c)| c.edit(at, bytes));
        if done { Ok(()) } else { Err(self.unknown_sequence()) }
    }

    fn has(&self, distance: i64, bytes: &[u8]) -> bool {
        let at = self.reloc.offset.checked_add_signed(distance);
        at.zip(self.chunks.chunks.get(self.site.chunk)).and_then(|(at, c)| c.bytes(at, bytes.len()))
            == Some(bytes)
    }

    /// The field, or one at a distance from it, holds the way to `to`.
    fn point(&mut self, distance: u64, to: Place, addend: i64) {
        let fixup = Fixup { offset: self.reloc.offset + distance, kind: RelocationKind::Pc32, to, addend };
        if let Some(chunk) = self.chunks.chunks.get_mut(self.site.chunk) {
            chunk.fixups.push(fixup);
        }
    }

    /// The pair becomes that of a new variable, and the call, whose field is at `call`, one of the getter.
    fn ask_getter(
        &mut self,
        around: &Surroundings<'_>,
        offset: i64,
        call: u64,
    ) -> Result<Option<u64>, Refusal> {
        // Without a getter there is a refusal that says why.
        let Some(getter) = around.getter else { return Ok(Some(call)) };
        // No module has the id 0.
        let pair = self.chunks.words(&[(Place::Constant(0), 0), (Place::Constant(0), offset)]);
        self.point(0, pair, -4);
        self.point(call - self.reloc.offset, getter, -4);
        Ok(Some(call))
    }

    fn constant(&self, value: i64) -> Result<[u8; 4], Refusal> {
        i32::try_from(value)
            .map(i32::to_le_bytes)
            .map_err(|_| self.refuse(format!("offset {value} does not fit in 32 bits"), "report it"))
    }
}

/// Handles a TLS relocation of any type. `Some`: offset of the relocation of the call that went away with the
/// sequence.
pub(super) fn relocate(
    around: &Surroundings<'_>,
    site: Site<'_>,
    reloc: &Relocation,
    symbol: &Resolved,
    chunks: &mut Chunks,
) -> Result<Option<u64>, Refusal> {
    let mut field = Field { site, reloc, chunks };
    if let Some(Tls::New { offset }) = symbol.tls
        && reloc.r_type != r::TLSLD
    {
        return added(around, &mut field, symbol, offset);
    }
    if reloc.r_type == r::TLSLD {
        match around.base {
            TlsBase::New => return local_dynamic_to_getter(around, &mut field),
            TlsBase::Target if !matches!(symbol.tls, Some(Tls::New { .. })) => {}
            TlsBase::Target | TlsBase::Unclear => return Err(mixed(site)),
        }
        return if around.executable {
            local_dynamic_to_exec(&mut field)
        } else {
            local_dynamic(around, &mut field)
        };
    }
    let Some(tls) = &symbol.tls else {
        return Err(field.refuse(format!("{} is not thread-local in the target", symbol.name), "report it"));
    };
    let (own, slots) = match tls {
        Tls::Own { offset, slots } => (Some(*offset), *slots),
        Tls::Imported { slots } => (None, *slots),
        Tls::New { .. } => return Err(field.unknown_sequence()),
    };
    let tp = own.filter(|_| around.executable).and_then(|offset| X86_64.thread_offset(around.tls?, offset));
    if let (r::DTPOFF32, Some(offset), false) = (reloc.r_type, own, around.executable) {
        let value = field.constant(offset.cast_signed() + reloc.addend)?;
        return field.edit(0, &value).map(|()| None);
    }
    match (reloc.r_type, tp) {
        (r::TPOFF32, Some(tp)) => {
            let value = field.constant(tp + reloc.addend)?;
            field.edit(0, &value).map(|()| None)
        }
        // In a program the base that local-dynamic code adds this to has become the thread pointer.
        (r::DTPOFF32, Some(tp)) => {
            let value = field.constant(tp + reloc.addend)?;
            field.edit(0, &value).map(|()| None)
        }
        (r::TPOFF64, Some(tp)) => field.edit(0, &(tp + reloc.addend).to_le_bytes()).map(|()| None),
        (r::GOTTPOFF, _) => initial_exec(&mut field, symbol, tp, slots),
        (r::TLSGD, _) => general_dynamic(around, &mut field, symbol, own, tp, slots),
        (r::GOTPC32_TLSDESC | r::TLSDESC_CALL, _) => descriptor(&mut field, symbol, tp, slots),
        _ => {
            let why = format!("{} to {} is not possible in this target", name(reloc.r_type), symbol.name);
            Err(field.refuse(why, "compile the unit with -fPIC and the default TLS model"))
        }
    }
}

fn no_slot(field: &Field<'_, '_>, symbol: &Resolved) -> Refusal {
    let why = format!(
        "the target has no slot that leads to {}: it does not use this variable that way yet",
        symbol.name
    );
    field.refuse(why, "reach the variable through an existing function that returns its address")
}

fn initial_exec(
    field: &mut Field<'_, '_>,
    symbol: &Resolved,
    tp: Option<i64>,
    slots: TlsSlots,
) -> Result<Option<u64>, Refusal> {
    let place = match (slots.thread_offset, tp) {
        (Some(slot), _) => Place::Target(slot),
        (None, Some(tp)) => field.chunks.words(&[(Place::Constant(0), tp)]),
        (None, None) => return Err(no_slot(field, symbol)),
    };
    let addend = field.reloc.addend;
    field.point(0, place, addend);
    Ok(None)
}

/// `data16 lea x@tlsgd(%rip),%rdi` and the call of `__tls_get_addr`, direct or through a table: 16 bytes
/// either way. Returns the offset of the call's field.
fn general_dynamic_call(field: &Field<'_, '_>) -> Result<u64, Refusal> {
    let lea = field.has(-4, &[0x66, 0x48, 0x8d, 0x3d]);
    let direct = field.has(4, &[0x66, 0x66, 0x48, 0xe8]);
    let through_table = field.has(4, &[0x66, 0x48, 0xff, 0x15]);
    if lea && (direct || through_table) { Ok(field.reloc.offset + 8) } else { Err(field.unknown_sequence()) }
}

fn general_dynamic(
    around: &Surroundings<'_>,
    field: &mut Field<'_, '_>,
    symbol: &Resolved,
    own: Option<u64>,
    tp: Option<i64>,
    slots: TlsSlots,
) -> Result<Option<u64>, Refusal> {
    if let Some(tp) = tp {
        let call = general_dynamic_call(field)?;
        let value = field.constant(tp)?;
        field.edit(-4, &LOAD_TP)?;
        // lea tp(%rax),%rax
        field.edit(5, &[0x48, 0x8d, 0x80])?;
        field.edit(8, &value)?;
        return Ok(Some(call));
    }
    let addend = field.reloc.addend;
    if let Some(pair) = slots.pair {
        field.point(0, Place::Target(pair), addend);
        return Ok(None);
    }
    if let (true, Some(slot)) = (around.executable, slots.thread_offset) {
        let call = general_dynamic_call(field)?;
        field.edit(-4, &LOAD_TP)?;
        // add slot(%rip),%rax
        field.edit(5, &[0x48, 0x03, 0x05])?;
        field.point(8, Place::Target(slot), -4);
        return Ok(Some(call));
    }
    let (Some(offset), Some(module)) = (own, around.own_module) else {
        return Err(no_slot(field, symbol));
    };
    let module = field.chunks.target_word(module);
    let pair = field.chunks.words(&[(module, 0), (Place::Constant(0), offset.cast_signed())]);
    field.point(0, pair, addend);
    Ok(None)
}

fn local_dynamic(around: &Surroundings<'_>, field: &mut Field<'_, '_>) -> Result<Option<u64>, Refusal> {
    let Some(module) = around.own_module else {
        let why = "the target has no word with its own TLS module id".to_owned();
        return Err(
            field.refuse(why, "reach the variable through an existing function that returns its address")
        );
    };
    let module = field.chunks.target_word(module);
    let pair = field.chunks.words(&[(module, 0), (Place::Constant(0), 0)]);
    let addend = field.reloc.addend;
    field.point(0, pair, addend);
    Ok(None)
}

/// One address serves both the target's variables and new ones.
fn mixed(site: Site<'_>) -> Refusal {
    refusal(
        "new thread-local variable",
        format!("{} ({})", site.section, site.unit),
        "the code asks once for the address of the file's own thread-local variables and reaches by it both \
         those that exist and new ones",
        "use the new variable in functions of its own that are not inlined, or make it visible to other \
         files (not static)",
    )
}

/// Any use of a new variable but the call of the local-dynamic model.
fn added(
    around: &Surroundings<'_>,
    field: &mut Field<'_, '_>,
    symbol: &Resolved,
    offset: u64,
) -> Result<Option<u64>, Refusal> {
    let offset = offset.cast_signed();
    match field.reloc.r_type {
        r::DTPOFF32 if around.base == TlsBase::New => {
            let value = field.constant(offset + field.reloc.addend)?;
            field.edit(0, &value).map(|()| None)
        }
        r::DTPOFF32 => Err(mixed(field.site)),
        r::TLSGD if field.reloc.addend == -4 => {
            let call = general_dynamic_call(field)?;
            // data16 data16 rex.W call
            field.edit(4, &[0x66, 0x66, 0x48, 0xe8])?;
            field.ask_getter(around, offset, call)
        }
        other => Err(refusal(
            "new thread-local variable",
            format!("{} ({})", symbol.name, field.site.unit),
            format!(
                "{} uses it as a part of the storage that each thread had when it began ({}), where there is \
                 no room for more",
                field.site.section,
                name(other)
            ),
            "compile the unit with -fPIC and the default TLS model and dialect, or keep the value in a \
             shadow variable (`upatch.h`)",
        )),
    }
}

/// `lea x@tlsld(%rip),%rdi` and the call: 12 bytes, or 13 with the call through a table.
fn local_dynamic_to_getter(
    around: &Surroundings<'_>,
    field: &mut Field<'_, '_>,
) -> Result<Option<u64>, Refusal> {
    let call = local_dynamic_call(field)?;
    if call == field.reloc.offset + 6 {
        // addr32 call
        field.edit(4, &[0x67, 0xe8])?;
    }
    field.ask_getter(around, 0, call)
}

/// Checks the instructions, and returns the offset of the call's field: 5 or, with a call through a table, 6
/// behind the other.
fn local_dynamic_call(field: &Field<'_, '_>) -> Result<u64, Refusal> {
    let lea = field.has(-3, &[0x48, 0x8d, 0x3d]);
    if lea && field.has(4, &[0xe8]) {
        Ok(field.reloc.offset + 5)
    } else if lea && field.has(4, &[0xff, 0x15]) {
        Ok(field.reloc.offset + 6)
    } else {
        Err(field.unknown_sequence())
    }
}

fn local_dynamic_to_exec(field: &mut Field<'_, '_>) -> Result<Option<u64>, Refusal> {
    // lea x@tlsld(%rip),%rdi, then the call; padded with prefixes that change nothing.
    let call = local_dynamic_call(field)?;
    let mut code = vec![0x66; if call == field.reloc.offset + 6 { 4 } else { 3 }];
    code.extend_from_slice(&LOAD_TP);
    field.edit(-3, &code)?;
    Ok(Some(call))
}

fn descriptor(
    field: &mut Field<'_, '_>,
    symbol: &Resolved,
    tp: Option<i64>,
    slots: TlsSlots,
) -> Result<Option<u64>, Refusal> {
    match (field.reloc.r_type, tp, slots.descriptor) {
        // xchg %ax,%ax in place of call *x@tlscall(%rax)
        (r::TLSDESC_CALL, Some(_), _) => field.edit(0, &[0x66, 0x90])?,
        (r::TLSDESC_CALL, None, _) => {}
        (_, Some(tp), _) => {
            if !field.has(-3, &[0x48, 0x8d, 0x05]) {
                return Err(field.unknown_sequence());
            }
            let value = field.constant(tp)?;
            // mov $tp,%rax
            field.edit(-3, &[0x48, 0xc7, 0xc0])?;
            field.edit(0, &value)?;
        }
        (_, None, Some(slot)) => {
            let addend = field.reloc.addend;
            field.point(0, Place::Target(slot), addend);
        }
        (_, None, None) => return Err(no_slot(field, symbol)),
    }
    Ok(None)
}

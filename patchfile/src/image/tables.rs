//! The `.upatch.*` sections: one table each, little endian, lists preceded by their count, names by their
//! length.

use super::codec::{Decoder, Encoder};
use super::{
    Export, Exported, Hook, Hop, Image, ImageError, ImportKind, POINTS, Redirect, Reference, Relocation,
    RelocationKind, Target, Unwind,
};
use crate::manifest::{FORMAT_BYTES, is_known_format};
use crate::{BuildId, Digest};

pub(super) const TARGET: &str = ".upatch.target";
pub(super) const REDIRECTS: &str = ".upatch.redirects";
pub(super) const REFERENCES: &str = ".upatch.references";
pub(super) const RELOCATIONS: &str = ".upatch.relocations";
pub(super) const UNWIND: &str = ".upatch.unwind";
pub(super) const HOOKS: &str = ".upatch.hooks";
pub(super) const EXPORTS: &str = ".upatch.exports";
pub(super) const HOPS: &str = ".upatch.hops";
pub(super) const COMPANIONS: &str = ".upatch.companions";

/// Every table with the section it goes to.
pub(super) fn encode(image: &Image) -> Vec<(&'static str, Vec<u8>)> {
    let mut tables = vec![
        (TARGET, target(&image.target, image.format())),
        (REDIRECTS, redirects(&image.redirects)),
        (REFERENCES, references(&image.references)),
        (RELOCATIONS, relocations(&image.relocations)),
        (UNWIND, unwind(image.unwind.as_ref())),
        (HOOKS, hooks(&image.hooks)),
    ];
    if !image.exports.is_empty() {
        tables.push((EXPORTS, exports(&image.exports)));
    }
    if image.redirects.iter().any(|r| r.hop.is_some()) {
        tables.push((HOPS, hops(&image.redirects)));
    }
    if !image.companions.is_empty() {
        tables.push((COMPANIONS, companions(&image.companions)));
    }
    tables
}

fn target(target: &Target, format: u32) -> Vec<u8> {
    let mut e = Encoder::default();
    e.u32(format).u8(u8::from(target.fixed)).raw(target.code.as_bytes());
    e.bytes(target.build_id.as_ref().map_or(&[], |id| id.as_bytes())).bytes(target.name.as_bytes());
    e.0
}

/// Reads the target table; its first word is the format version, checked before anything else is looked at,
/// and given too.
pub(super) fn decode_target(bytes: &[u8]) -> Result<(u32, Target), ImageError> {
    let mut d = Decoder::new(TARGET, bytes);
    let found = d.u32()?;
    if !is_known_format(found) {
        return Err(ImageError::Format { found, newest: FORMAT_BYTES });
    }
    let fixed = match d.u8()? {
        0 => false,
        1 => true,
        _ => return Err(d.damaged("unknown flag")),
    };
    let code = Digest::from_bytes(d.bytes32()?);
    let build_id = match d.bytes()? {
        [] => None,
        id => Some(BuildId::new(id).ok_or_else(|| d.damaged("impossible build-id"))?),
    };
    let name = d.string()?;
    d.end()?;
    Ok((found, Target { name, build_id, code, fixed }))
}

fn redirects(list: &[Redirect]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for r in list {
        e.bytes(r.name.as_bytes()).u64(r.old).u64(r.old_size).u8(r.skip).raw(&r.original);
        // Address 0 is the control block, never code: free to stand for "none".
        e.u64(r.new).u64(r.stub).u64(r.resume.unwrap_or(0)).count(r.fragments.len());
        for (start, size) in &r.fragments {
            e.u64(*start).u64(*size);
        }
    }
    e.0
}

pub(super) fn decode_redirects(bytes: &[u8]) -> Result<Vec<Redirect>, ImageError> {
    let mut d = Decoder::new(REDIRECTS, bytes);
    let list = d.list(57, |d| {
        Ok(Redirect {
            name: d.string()?,
            old: d.u64()?,
            old_size: d.u64()?,
            skip: d.u8()?,
            original: d.bytes8()?,
            new: d.u64()?,
            stub: d.u64()?,
            resume: Some(d.u64()?).filter(|address| *address != 0),
            fragments: d.list(16, |d| Ok((d.u64()?, d.u64()?)))?,
            hop: None,
        })
    })?;
    d.end()?;
    Ok(list)
}

fn hops(list: &[Redirect]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.iter().filter(|r| r.hop.is_some()).count());
    for (index, hop) in list.iter().enumerate().filter_map(|(i, r)| Some((i, r.hop?))) {
        e.count(index).u64(hop.address).raw(&hop.original);
    }
    e.0
}

/// Reads the hops into the redirects that they belong to.
pub(super) fn decode_hops(bytes: &[u8], redirects: &mut [Redirect]) -> Result<(), ImageError> {
    let mut d = Decoder::new(HOPS, bytes);
    let list = d.list(20, |d| Ok((d.u32()?, Hop { address: d.u64()?, original: d.bytes8()? })))?;
    d.end()?;
    for (index, hop) in list {
        let of = redirects.get_mut(index as usize).filter(|r| r.hop.is_none());
        of.ok_or_else(|| d.damaged("one belongs to no redirect"))?.hop = Some(hop);
    }
    Ok(())
}

fn references(list: &[Reference]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for reference in list {
        match reference {
            Reference::Image => e.u8(0),
            Reference::Target => e.u8(1),
            Reference::TargetWord { address } => e.u8(2).u64(*address),
            Reference::Import { name, version, weak, kind } => e
                .u8(3)
                .u8(u8::from(*weak))
                .u8(u8::from(*kind == ImportKind::Object))
                .bytes(name.as_bytes())
                .bytes(version.as_deref().unwrap_or("").as_bytes()),
            Reference::Sibling { name, version, kind } => e
                .u8(4)
                .u8(u8::from(*kind == ImportKind::Object))
                .bytes(name.as_bytes())
                .bytes(version.as_deref().unwrap_or("").as_bytes()),
        };
    }
    e.0
}

fn import_kind(d: &mut Decoder<'_>) -> Result<ImportKind, ImageError> {
    Ok(if d.u8()? == 0 { ImportKind::Function } else { ImportKind::Object })
}

fn version(d: &mut Decoder<'_>) -> Result<Option<String>, ImageError> {
    Ok(Some(d.string()?).filter(|v| !v.is_empty()))
}

pub(super) fn decode_references(bytes: &[u8]) -> Result<Vec<Reference>, ImageError> {
    let mut d = Decoder::new(REFERENCES, bytes);
    let list = d.list(1, |d| {
        Ok(match d.u8()? {
            0 => Reference::Image,
            1 => Reference::Target,
            2 => Reference::TargetWord { address: d.u64()? },
            3 => {
                let weak = d.u8()? != 0;
                let kind = import_kind(d)?;
                Reference::Import { name: d.string()?, version: version(d)?, weak, kind }
            }
            4 => {
                let kind = import_kind(d)?;
                Reference::Sibling { name: d.string()?, version: version(d)?, kind }
            }
            other => return Err(d.damaged(format!("unknown kind {other}"))),
        })
    })?;
    d.end()?;
    Ok(list)
}

fn relocations(list: &[Relocation]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for r in list {
        e.u64(r.address).u8(r.kind as u8).u32(r.reference).u64(r.addend.cast_unsigned());
    }
    e.0
}

pub(super) fn decode_relocations(bytes: &[u8]) -> Result<Vec<Relocation>, ImageError> {
    let mut d = Decoder::new(RELOCATIONS, bytes);
    let list = d.list(21, |d| {
        let address = d.u64()?;
        let kind = d.u8()?;
        let kind = *RelocationKind::ALL
            .get(usize::from(kind))
            .ok_or_else(|| d.damaged(format!("unknown kind {kind}")))?;
        Ok(Relocation { address, kind, reference: d.u32()?, addend: d.u64()?.cast_signed() })
    })?;
    d.end()?;
    Ok(list)
}

fn unwind(unwind: Option<&Unwind>) -> Vec<u8> {
    let mut e = Encoder::default();
    if let Some(u) = unwind {
        e.u64(u.eh_frame).u64(u.eh_frame_size).u8(u8::from(u.register));
    }
    e.0
}

pub(super) fn decode_unwind(bytes: &[u8]) -> Result<Option<Unwind>, ImageError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut d = Decoder::new(UNWIND, bytes);
    let found = Unwind { eh_frame: d.u64()?, eh_frame_size: d.u64()?, register: d.u8()? != 0 };
    d.end()?;
    Ok(Some(found))
}

fn hooks(list: &[Hook]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for hook in list {
        e.u8(hook.when as u8).u64(hook.address);
    }
    e.0
}

pub(super) fn decode_hooks(bytes: &[u8]) -> Result<Vec<Hook>, ImageError> {
    let mut d = Decoder::new(HOOKS, bytes);
    let list = d.list(9, |d| {
        let point = d.u8()?;
        let when =
            *POINTS.get(usize::from(point)).ok_or_else(|| d.damaged(format!("unknown point {point}")))?;
        Ok(Hook { when, address: d.u64()? })
    })?;
    d.end()?;
    Ok(list)
}

fn exports(list: &[Export]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for export in list {
        e.bytes(export.name.as_bytes()).bytes(export.version.as_deref().unwrap_or("").as_bytes());
        match export.at {
            Exported::Image(address) => e.u8(0).u64(address),
            Exported::Target(address) => e.u8(1).u64(address),
        };
    }
    e.0
}

pub(super) fn decode_exports(bytes: &[u8]) -> Result<Vec<Export>, ImageError> {
    let mut d = Decoder::new(EXPORTS, bytes);
    let list = d.list(17, |d| {
        let (name, version) = (d.string()?, version(d)?);
        let at = match d.u8()? {
            0 => Exported::Image(d.u64()?),
            1 => Exported::Target(d.u64()?),
            other => return Err(d.damaged(format!("unknown kind {other}"))),
        };
        Ok(Export { name, version, at })
    })?;
    d.end()?;
    Ok(list)
}

fn companions(list: &[String]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.count(list.len());
    for name in list {
        e.bytes(name.as_bytes());
    }
    e.0
}

pub(super) fn decode_companions(bytes: &[u8]) -> Result<Vec<String>, ImageError> {
    let mut d = Decoder::new(COMPANIONS, bytes);
    let list = d.list(4, |d| d.string())?;
    d.end()?;
    Ok(list)
}

//! What must hold of an image before anything is done with it. A patch ELF is untrusted input: the applier
//! relies on each of these.

use super::{Access, Export, Exported, Image, ImageError, Reference};
use crate::control;
use std::collections::HashSet;

/// No patch is larger; bounds what a damaged file can ask for.
const MAX_SIZE: u64 = 512 << 20;
/// Longest name of a file (`NAME_MAX`), in bytes.
const MAX_NAME: usize = 255;

fn damaged(table: &'static str, why: impl Into<String>) -> ImageError {
    ImageError::Damaged { table, why: why.into() }
}

/// Checks that the images of a patch have the symbols that they take from each other.
///
/// # Errors
/// [`ImageError::Damaged`] naming the first symbol that one image wants of the others and none has.
pub fn validate_together(images: &[Image]) -> Result<(), ImageError> {
    for image in images {
        for reference in &image.references {
            let Reference::Sibling { name, version, .. } = reference else { continue };
            let exports = images.iter().flat_map(|i| &i.exports);
            if !exports.into_iter().any(|e| e.name == *name && e.version == *version) {
                let why = format!("{} wants {name}, which no ELF file of the patch has", image.target.name);
                return Err(damaged("references", why));
            }
        }
    }
    Ok(())
}

impl Image {
    /// Checks every invariant that the documentation of the fields states.
    ///
    /// # Errors
    /// [`ImageError::Damaged`] naming the first one that does not hold.
    pub fn validate(&self) -> Result<(), ImageError> {
        self.validate_segments()?;
        self.validate_redirects()?;
        for (index, relocation) in self.relocations.iter().enumerate() {
            let width = relocation.kind.width();
            if !matches!(self.segment_at(relocation.address, width), Some((segment, _)) if segment != 0) {
                return Err(damaged(
                    "relocations",
                    format!("number {index} lies outside the image's contents"),
                ));
            }
            if !self.arch.facts().relocations.contains(&relocation.kind) {
                return Err(damaged("relocations", format!("number {index} has a form of another machine")));
            }
            if relocation.reference as usize >= self.references.len() {
                return Err(damaged("relocations", format!("number {index} refers to nothing")));
            }
        }
        if let Some(unwind) = &self.unwind
            && !self.is_in(unwind.eh_frame, unwind.eh_frame_size.max(4), Access::Read)
        {
            return Err(damaged("unwind", ".eh_frame lies outside read-only contents"));
        }
        for hook in &self.hooks {
            if !self.is_in(hook.address, 1, Access::Execute) {
                return Err(damaged("hooks", "a hook lies outside the code"));
            }
        }
        self.validate_exports()?;
        self.validate_companions()
    }

    fn validate_companions(&self) -> Result<(), ImageError> {
        let is_file_name =
            |name: &str| !name.is_empty() && name.len() <= MAX_NAME && !name.contains(['/', '$', '\0']);
        let mut known = HashSet::new();
        match self.companions.iter().find(|name| !is_file_name(name) || !known.insert(name.as_str())) {
            Some(name) => Err(damaged("companions", format!("{name:?} is no file name, or there twice"))),
            None => Ok(()),
        }
    }

    fn validate_exports(&self) -> Result<(), ImageError> {
        let mut known = HashSet::new();
        for Export { name, version, at } in &self.exports {
            let bad = |why: &str| Err(damaged("exports", format!("{name}: {why}")));
            if !known.insert((name, version)) {
                return bad("twice");
            }
            match *at {
                Exported::Image(address) => {
                    if !matches!(self.segment_at(address, 1), Some((segment, _)) if segment != 0) {
                        return bad("lies outside the image's contents");
                    }
                }
                Exported::Target(address) if address >= self.arch.facts().address_end => {
                    return bad("lies outside the address space");
                }
                Exported::Target(_) => {}
            }
        }
        Ok(())
    }

    fn validate_segments(&self) -> Result<(), ImageError> {
        let bad = |why: &str| Err(damaged("segments", why));
        let Some(first) = self.segments.first() else { return bad("there are none") };
        if first.access != Access::Read || first.address != 0 || !first.data.is_empty() {
            return bad("the first is not an empty control segment");
        }
        if first.size < control::size(self.redirects.len()) {
            return bad("the control segment is too small for the redirects");
        }
        let mut end = 0;
        for segment in &self.segments {
            if segment.address % self.arch.facts().page != 0 || segment.address < end {
                return bad("not in address order on page boundaries");
            }
            if segment.size == 0 || segment.data.len() as u64 > segment.size {
                return bad("one is empty or has more contents than room");
            }
            end = match segment.address.checked_add(segment.size) {
                Some(end) if end <= MAX_SIZE => end,
                _ => return bad("larger than 512 MiB"),
            };
        }
        Ok(())
    }

    fn validate_redirects(&self) -> Result<(), ImageError> {
        let bad = |name: &str, why: &str| Err(damaged("redirects", format!("{name}: {why}")));
        let facts = self.arch.facts();
        let mut written: Vec<(u64, u64)> = Vec::with_capacity(self.redirects.len());
        for redirect in &self.redirects {
            let code = [Some(redirect.new), Some(redirect.stub), redirect.resume];
            if !code.into_iter().flatten().all(|address| self.is_in(address, 1, Access::Execute)) {
                return bad(&redirect.name, "new code lies outside the image's code");
            }
            if !facts.skips.contains(&redirect.skip) {
                return bad(&redirect.name, "impossible distance to the redirected instruction");
            }
            if redirect.resume.is_none() && self.redirects.len() != 1 {
                return bad(&redirect.name, "has no resume code though it is not the only one");
            }
            let ranges =
                std::iter::once((redirect.old, redirect.old_size)).chain(redirect.fragments.iter().copied());
            for (start, size) in ranges {
                if start.checked_add(size).is_none_or(|end| end > facts.address_end) {
                    return bad(&redirect.name, "old code lies outside the address space");
                }
            }
            if let Some(hop) = redirect.hop {
                let reaches = facts.short_jump.is_some_and(|length| {
                    let from = redirect.site().wrapping_add(length);
                    let distance = hop.address.wrapping_sub(from).cast_signed();
                    let reach = facts.short_reach.cast_signed();
                    (-reach - 1..=reach).contains(&distance)
                });
                if hop.address >= facts.address_end || !reaches {
                    return bad(&redirect.name, "the padding is out of reach of its entry");
                }
            }
            written.extend(redirect.overwrites(self.arch).map(|range| (range.start, range.end)));
        }
        written.sort_unstable();
        if written.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return Err(damaged("redirects", "two functions would be redirected at one place"));
        }
        Ok(())
    }

    fn is_in(&self, address: u64, len: u64, access: Access) -> bool {
        self.segment_at(address, len)
            .is_some_and(|(index, _)| index != 0 && self.segments[index].access == access)
    }
}

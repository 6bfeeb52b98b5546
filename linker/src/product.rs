//! The products that patch objects can be made into.

use patchfile::image::Image;

/// What was made of the patch objects of one ELF file.
///
/// Who handles a product matches on this, without a wildcard: another one, such as a module for a kernel,
/// then shows every place that has to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Product {
    /// An image that is mapped into processes, to be written as `<elf>.upatch`. Without redirects when no
    /// changed function is in this ELF file: nothing to ship then, unless another file needs one of its
    /// exports, which are all that the fix adds.
    Image(Image),
}

impl Product {
    /// The contents that it brings.
    pub fn contents(&self) -> Vec<&[u8]> {
        let Self::Image(image) = self;
        image.segments.iter().map(|s| s.data.as_slice()).collect()
    }
}

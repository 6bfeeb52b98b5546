//! A source file that a compiler driver makes an object of.

use std::path::Path;

use crate::command_line::driver::{CommandLine, Source};
use crate::record::recorder::Recorder;
use crate::record::unit::{UnitKind, UnitRecord};
use crate::tools::names::Tool;

/// One source, one object.
pub(crate) struct Unit<'a> {
    pub(crate) recorder: Recorder,
    pub(crate) family: Tool,
    pub(crate) real: &'a Path,
    pub(crate) expanded: &'a [Vec<u8>],
    pub(crate) line: &'a CommandLine,
    pub(crate) source: &'a Source,
}

impl Unit<'_> {
    pub(crate) fn blank(&self) -> UnitRecord {
        let mut unit = self.recorder.blank_unit(self.real);
        unit.expanded_argv = self.expanded.iter().map(|word| word.as_slice().into()).collect();
        unit.kind = UnitKind::of_language(&self.source.language);
        unit.language.clone_from(&self.source.language);
        unit.source = self.source.name.as_slice().into();
        unit.lto = self.line.lto;
        unit
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// gcc's variable: a make rule with all headers, no flag added.
    Sunpro,
    /// clang's variable: one header a line.
    Headers,
    /// The dependency file that the build itself asks for.
    OwnFile,
    /// A second run of the preprocessor.
    AskAgain,
}

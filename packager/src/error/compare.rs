//! Errors and refusals of comparing the two builds.

use super::target::MISMATCH;
use super::{Worded, Words};
use linker::LinkError;
use patchfile::exit::BuildExit;
use std::error::Error;

/// How many places are named at which a rebuild is not the target.
const SHOWN: usize = 3;

/// Why no patch comes of the two builds.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.words())]
pub(crate) enum CompareError {
    /// The patch objects of an ELF file make no image.
    Link {
        /// The file's name.
        target: String,
        /// What the linker met.
        source: LinkError,
    },
    /// The linked files cannot be held against each other.
    Ledger {
        /// The file's name.
        file: String,
        /// What the linker met.
        source: LinkError,
    },
    /// An object of link-time optimisation is damaged.
    OptimisedObject(#[source] Box<dyn Error + Send + Sync>),
    /// Link-time optimisation without debug information.
    OptimisedWithoutDebug,
    /// The change cannot be live-patched.
    Refused(Vec<Cause>),
    /// The rebuild is not the target.
    Mismatch {
        /// The file's name.
        file: String,
        /// How it differs.
        difference: String,
        /// What it probably comes from, the likeliest first.
        causes: Vec<String>,
        /// What is refused for it.
        refused: Vec<RefusalLine>,
        /// What to do about each.
        remedies: Vec<String>,
    },
    /// The fix changes nothing that could be patched.
    Nothing {
        /// What it comes to.
        why: String,
    },
}

/// Something that cannot be live-patched, or several things for which the same holds.
#[derive(Debug)]
pub(crate) struct RefusalLine {
    /// What.
    pub what: String,
    /// Where.
    pub place: String,
    /// Why.
    pub why: String,
}

/// One cause for which a change cannot be live-patched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    /// What was met.
    pub what: String,
    /// Symbol, as its author wrote it.
    pub symbol: String,
    /// The symbol with the units where it was met, as `limit (server.c)`.
    pub place: String,
    /// Where the source declares it: `file:line`, or the units where it was met.
    pub site: String,
    /// Why it is not safe.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// What else is refused only for this cause.
    pub follows: Vec<String>,
}

impl Cause {
    /// One line: what, and in which units.
    fn line(&self) -> String {
        format!("{}: {}", self.what, self.place)
    }

    /// All that is to be known, in lines.
    fn block(&self) -> String {
        let mut lines = vec![format!("{}: {}", self.what, self.symbol)];
        if !self.site.is_empty() {
            lines.push(format!("--> {}", self.site));
        }
        lines.push(format!("why:  {}", self.why));
        lines.push(format!("do:   {}", self.remedy));
        lines.extend(self.follows.iter().map(|follows| format!("with: {follows}")));
        lines.push(format!("see:  {GUIDE}{}", anchor(&self.what)));
        lines.join("\n")
    }
}

/// The guide to refusals, as it is installed below the documents.
const GUIDE: &str = "docs/guide/when-refused.md";

impl Worded for CompareError {
    fn words(&self) -> Words {
        match self {
            Self::Link { target, source } => {
                Words::failed(format!("cannot link the patch for {target}"), source)
            }
            Self::Ledger { file, source } => Words::failed(format!("cannot compare {file}"), source),
            Self::OptimisedObject(source) => {
                Words::failed("an object of link-time optimisation cannot be read", source)
            }
            Self::OptimisedWithoutDebug => Words::failed(
                "link-time optimisation",
                "without debug information functions of one name in several source files cannot be told \
                 apart",
            ),
            Self::Refused(causes) => {
                let lines: Vec<String> = causes.iter().map(Cause::line).collect();
                let what = "the change cannot be live-patched safely";
                let mut words = Words::new(BuildExit::Refused, what, lines.join("; "));
                words.blocks = causes.iter().map(Cause::block).collect();
                words.hint(
                    "how to write it otherwise is in the guide; --explain prints its entries, and the rest",
                )
            }
            Self::Mismatch { file, difference, causes, refused, remedies } => {
                let mut words = Words::new(BuildExit::Mismatch, MISMATCH, format!("{file}: {difference}"));
                let hint = |l: &RefusalLine| format!("{}: {}: {}", l.what, l.place, l.why);
                words.hints = causes.iter().map(|cause| format!("likely cause: {cause}")).collect();
                words.hints.extend(refused.iter().take(SHOWN).map(hint));
                if refused.len() > SHOWN {
                    words.hints.push(format!("{} more of that kind in report.yaml", refused.len() - SHOWN));
                }
                let same = "build with the compiler, options and sources that the target was built with";
                for remedy in remedies.iter().map(String::as_str).chain([same]) {
                    if !words.hints.iter().any(|hint| hint == remedy) {
                        words.hints.push(remedy.to_owned());
                    }
                }
                words
            }
            Self::Nothing { why } => Words::new(BuildExit::NoChange, "the patch changes nothing", why).hint(
                "a change of comments, documentation, tests or of programs that are not shipped needs no \
                 live patch",
            ),
        }
    }
}

/// Where a reason stands in the guide to refusals.
pub(crate) fn anchor(what: &str) -> String {
    let words = what.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    format!("#{}", words.collect::<Vec<_>>().join("-").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_leads_to_its_place_in_the_guide() {
        let cause = Cause { what: "size of live data changed".into(), ..Cause::default() };
        let block = CompareError::Refused(vec![cause]).words().blocks.pop().unwrap_or_default();
        assert!(block.ends_with("see:  docs/guide/when-refused.md#size-of-live-data-changed"), "{block}");
        let guide = include_str!("../../../docs/guide/when-refused.md");
        assert!(guide.contains("<a id=\"size-of-live-data-changed\"></a>"));
    }
}

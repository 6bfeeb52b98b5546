//! Why a rebuild is probably not the target: what the two files tell of how they were made.

use super::TargetFile;
use crate::elf::Origin;
use std::collections::BTreeSet;

/// How many names are told of each kind.
const NAMES: usize = 6;

/// Likely causes for `rebuilt` not to be `target`, the likeliest first, one line each.
pub(crate) fn causes(target: &TargetFile, rebuilt: &[u8]) -> Vec<String> {
    let shipped = Origin::read(&target.data, target.debug.as_deref());
    let mut causes = between(&shipped, &Origin::read(rebuilt, None));
    if !target.has_symbols() {
        let why = if target.other_debug {
            "the files of --debuginfo are those of another build: none has the build-id of the target"
        } else {
            "the target is stripped: with its debuginfo (--debuginfo) functions are compared by name, \
             wherever they lie"
        };
        causes.push(why.to_owned());
    }
    causes
}

/// Are these other compilers? Debug information, annobin and `.comment` name one in three ways; names given
/// in different ways are compared by the version in them.
fn are_others(theirs: &BTreeSet<String>, ours: &BTreeSet<String>) -> bool {
    let forms = |set: &BTreeSet<String>| -> BTreeSet<String> {
        set.iter().filter_map(|name| name.split(' ').next()).map(str::to_owned).collect()
    };
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let versions = |set: &BTreeSet<String>| -> BTreeSet<String> {
        set.iter().filter_map(|name| name.split(' ').find(is_version)).map(str::to_owned).collect()
    };
    if theirs.is_empty() || !theirs.is_disjoint(ours) {
        return false;
    }
    !forms(theirs).is_disjoint(&forms(ours)) || versions(theirs).is_disjoint(&versions(ours))
}

fn between(shipped: &Origin, rebuilt: &Origin) -> Vec<String> {
    let mut causes = Vec::new();
    if are_others(&shipped.compilers, &rebuilt.compilers) {
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let (theirs, ours) = (names(&shipped.compilers), names(&rebuilt.compilers));
        causes.push(format!("another compiler: the target was made by {theirs}, the rebuild by {ours}"));
    }
    let kinds = [
        ("other options of the compiler", &shipped.options, &rebuilt.options),
        ("other options of the compiler, as annobin noted them", &shipped.noted, &rebuilt.noted),
        ("other libraries", &shipped.needed, &rebuilt.needed),
        (
            "other imported names (another configuration or other libraries)",
            &shipped.imports,
            &rebuilt.imports,
        ),
        ("other exported names (other sources or another configuration)", &shipped.exports, &rebuilt.exports),
    ];
    for (what, theirs, ours) in kinds {
        // Without debug information there are no options to compare.
        if what.contains("options") && (theirs.is_empty() || ours.is_empty()) {
            continue;
        }
        let mut parts = Vec::new();
        for (whose, names) in
            [("the target", theirs.difference(ours)), ("the rebuild", ours.difference(theirs))]
        {
            let names: Vec<&String> = names.collect();
            let shown = names.iter().take(NAMES).map(|n| n.as_str()).collect::<Vec<_>>().join(" ");
            let more = names.len().saturating_sub(NAMES);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.extend((!names.is_empty()).then(|| format!("only {whose} has {shown}{more}")));
        }
        causes.extend((!parts.is_empty()).then(|| format!("{what}: {}", parts.join("; "))));
    }
    if causes.is_empty() {
        causes.push(
            "other sources (another release, or patches that only one of them has), or another path: both \
             files \
             name the same compiler, options, libraries and names, as far as they name any"
                .to_owned(),
        );
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &str) -> BTreeSet<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_differs_is_named_and_nothing_else() {
        let shipped = Origin {
            compilers: set("gcc-12"),
            options: set("-O2 -fPIE"),
            imports: set("a b"),
            ..Origin::default()
        };
        let mut rebuilt = shipped.clone();
        assert!(between(&shipped, &rebuilt)[0].starts_with("other sources"));
        rebuilt.compilers = set("gcc-13");
        rebuilt.options = set("-O0 -fPIE");
        rebuilt.imports = set("b");
        let said = between(&shipped, &rebuilt);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("made by gcc-12, the rebuild by gcc-13"), "{said:?}");
        assert!(said[1].contains("only the target has -O2; only the rebuild has -O0"), "{said:?}");
        assert!(said[2].contains("imported names") && said[2].ends_with("only the target has a"), "{said:?}");
        // A stripped target tells no options.
        let stripped = Origin { options: BTreeSet::new(), ..shipped };
        assert!(between(&stripped, &rebuilt).iter().all(|c| !c.contains("options")));
    }

    #[test]
    fn one_compiler_may_be_named_in_several_ways() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<String>>();
        let noted = names(&["gcc 12.3.1 20230508"]);
        assert!(!are_others(&noted, &names(&["GCC: (GNU) 12.3.1 20230508"])));
        assert!(are_others(&noted, &names(&["GNU C17 12.2.0"])));
        assert!(are_others(&noted, &names(&["gcc 12.3.1 20230801"])));
        assert!(!are_others(&noted, &noted) && !are_others(&names(&[]), &noted));
    }
}

//! A kernel's configuration.

use std::collections::BTreeMap;

/// What stands in a `.config`: each option that is set, without `CONFIG_`. Text has no quotes any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config(BTreeMap<String, String>);

/// Options that the build of a package sets to what is on the build machine, or that name the programs of it.
/// They change no object.
const OF_THE_MACHINE: [&str; 14] = [
    "MODULE_SIG_KEY",
    "SYSTEM_TRUSTED_KEYS",
    "CC_VERSION_TEXT",
    "RUSTC_VERSION_TEXT",
    "RUSTC_VERSION",
    "RUSTC_LLVM_VERSION",
    "RUST_IS_AVAILABLE",
    "BINDGEN_VERSION_TEXT",
    "PAHOLE_VERSION",
    "BUILD_SALT",
    "LD_VERSION",
    "AS_VERSION",
    "SYSTEM_REVOCATION_KEYS",
    "INITRAMFS_SOURCE",
];
/// Beginnings of names of such options.
const OF_THE_MACHINE_BEGIN: [&str; 3] = ["HAVE_RUST", "RUSTC_", "CC_HAS_RUST"];

impl Config {
    /// Reads the text.
    pub(super) fn read(text: &str) -> Self {
        let set = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
        Self(set.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect())
    }

    /// The value of an option.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Is it built in (`y`)?
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("y")
    }

    /// The compiler that made the kernel, as it calls itself.
    pub(super) fn compiler(&self) -> &str {
        self.get("CC_VERSION_TEXT").unwrap_or_default()
    }

    /// Options that differ and matter to objects, as `NAME: here, there`.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let counts = |name: &str| {
            !OF_THE_MACHINE.contains(&name) && !OF_THE_MACHINE_BEGIN.iter().any(|b| name.starts_with(b))
        };
        let differs = names.into_iter().filter(|n| counts(n) && self.0.get(*n) != other.0.get(*n));
        let value = |config: &Self, name: &str| config.get(name).unwrap_or("not set").to_owned();
        differs.map(|n| format!("CONFIG_{n}: {} here, {} there", value(self, n), value(other, n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_matter_are_compared() {
        let ours =
            Config::read("CONFIG_A=y\nCONFIG_CC_VERSION_TEXT=\"gcc 1\"\n# CONFIG_B is not set\nCONFIG_N=3\n");
        let theirs = Config::read("CONFIG_A=m\nCONFIG_CC_VERSION_TEXT=\"gcc 2\"\nCONFIG_N=3\nCONFIG_B=y\n");
        assert_eq!(
            ours.differences(&theirs),
            ["CONFIG_A: y here, m there", "CONFIG_B: not set here, y there"]
        );
        assert_eq!((ours.compiler(), ours.is_on("A"), theirs.is_on("A")), ("gcc 1", true, false));
    }
}

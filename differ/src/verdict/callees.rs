//! Tells what functions are for, by their names.

use crate::profile::Profile;

/// The names of functions that code of a product calls, as far as they tell what the functions do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callees {
    /// Functions that return memory for `free`.
    heap: &'static [&'static str],
    /// Beginnings of the names of functions that only look at what lies behind a pointer, whatever that is.
    readers: &'static [&'static str],
    /// Whole names of further such functions.
    named_readers: &'static [&'static str],
    /// A word in the names of further such functions.
    reader_word: Option<&'static str>,
}

/// The names of the C library.
const C_LIBRARY: Callees = Callees {
    heap: &HEAP,
    readers: &["mem", "str", "wcs"],
    named_readers: &["puts", "fputs", "fwrite", "fread", "write", "read", "send", "recv"],
    reader_word: Some("printf"),
};

/// The kernel has no C library, but functions of the same names that work on memory, and its own for the
/// rest.
const KERNEL: Callees = Callees {
    heap: &KERNEL_HEAP,
    readers: &["mem", "str", "print", "trace_", "check_object_size"],
    named_readers: &[
        "copy_to_user",
        "_copy_to_user",
        "dev_err",
        "dev_warn",
        "dev_info",
        "_dev_err",
        "_dev_warn",
    ],
    reader_word: Some("print"),
};

/// Functions of the kernel that return memory for `kfree` or `kvfree`, by the names in objects: newer
/// versions have `_noprof` behind them, which [`Callees`] leaves out.
const KERNEL_HEAP: [&str; 22] = [
    "__kmalloc",
    "__kmalloc_node",
    "__kmalloc_node_track_caller",
    "__kmalloc_track_caller",
    "__kmalloc_cache",
    "__kmalloc_large",
    "kmalloc",
    "kmalloc_trace",
    "kmalloc_large",
    "kmalloc_node_trace",
    "kzalloc",
    "kcalloc",
    "krealloc",
    "kvmalloc_node",
    "__kvmalloc_node",
    "kmemdup",
    "kstrdup",
    "kstrndup",
    "vmalloc",
    "vzalloc",
    "__vmalloc",
    "memdup_user",
];

const HEAP: [&str; 12] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "strdup",
    "strndup",
    "__strdup",
    "__strndup",
    "aligned_alloc",
    "memalign",
    "_Znwm",
    "_Znam",
];

/// Words in the names of functions that end the use of something. The second list holds words that count only
/// at the end of a name.
const RELEASES: ([&str; 22], [&str; 3]) = (
    [
        "cleanup",
        "dealloc",
        "deallocate",
        "dec",
        "decr",
        "decref",
        "delete",
        "deref",
        "destroy",
        "discard",
        "dispose",
        "drop",
        "fini",
        "kill",
        "release",
        "shutdown",
        "teardown",
        "term",
        "unhold",
        "unlock",
        "unref",
        "unreference",
    ],
    ["put", "down", "clear"],
);

/// Words in the names of functions that keep something from ending. The second list holds words that count
/// only at the end of a name.
const ACQUIRES: ([&str; 14], [&str; 3]) = (
    [
        "acquire",
        "addref",
        "grab",
        "hold",
        "inc",
        "incr",
        "incref",
        "lock",
        "pin",
        "ref",
        "reference",
        "refup",
        "retain",
        "upref",
    ],
    ["get", "up", "dup"],
);

impl Callees {
    /// The names for a product.
    pub(super) fn of(profile: Profile) -> Self {
        match profile {
            Profile::User => C_LIBRARY,
            Profile::Kernel => KERNEL,
        }
    }

    /// The name that stands for all functions that return the same kind of memory.
    pub(super) fn kind(self, function: &str) -> &str {
        if self.heap.contains(&plain(function)) { "malloc" } else { function }
    }

    /// Does the function return memory of a size that its caller tells?
    pub(super) fn allocates(self, function: &str) -> bool {
        self.heap.contains(&plain(function)) || words(function).iter().any(|w| w.ends_with("alloc"))
    }

    /// Does the function only look at what lies behind a pointer, whatever that is?
    pub(super) fn looks_only(self, function: &str) -> bool {
        let name = function.trim_start_matches("__");
        self.readers.iter().any(|p| name.starts_with(p))
            || self.reader_word.is_some_and(|word| name.contains(word))
            || self.named_readers.contains(&name)
    }
}

/// The name without what allocations of the kernel are marked with.
fn plain(function: &str) -> &str {
    function.strip_suffix("_noprof").unwrap_or(function)
}

/// Does the function end the use of its argument, or take it back?
pub(super) fn releases(function: &str) -> bool {
    let freed = ["_ZdlPv", "_ZdaPv"].iter().any(|p| function.starts_with(p));
    let words = words(function);
    // `g_free`, `zfree`, `fclose`
    let frees = words.iter().any(|w| w.ends_with("free") || w.ends_with("close"));
    function == "--" || freed || frees || among(&words, &RELEASES.0, &RELEASES.1)
}

/// Does the function keep its argument from ending?
pub(super) fn acquires(function: &str) -> bool {
    function == "++" || (among(&words(function), &ACQUIRES.0, &ACQUIRES.1) && !releases(function))
}

fn among(words: &[String], anywhere: &[&str], last: &[&str]) -> bool {
    words.iter().any(|w| anywhere.contains(&w.as_str()))
        || words.last().is_some_and(|w| last.contains(&w.as_str()))
}

/// The words of a name, in lower case: `conn_put`, `decrRefCount`. For a mangled name (`_ZN4Conn3putEv`)
/// these are the words between the numbers, and a rest.
fn words(function: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut fresh = true;
    let mut was_lower = false;
    for c in function.chars() {
        if !c.is_ascii_alphabetic() {
            fresh = true;
            was_lower = false;
            continue;
        }
        if fresh || (c.is_ascii_uppercase() && was_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c.to_ascii_lowercase());
        }
        (fresh, was_lower) = (false, c.is_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell() {
        for name in [
            "free",
            "g_free",
            "zfree",
            "xmlFreeNode",
            "conn_put",
            "decrRefCount",
            "SSL_CTX_free",
            "_ZN4Conn5unrefEv",
            "_ZdlPvm",
            "fclose",
            "--",
        ] {
            assert!(releases(name) && !acquires(name), "{name}");
        }
        for name in [
            "conn_get",
            "incrRefCount",
            "g_object_ref",
            "xmlHoldNode",
            "SSL_CTX_up_ref",
            "_ZN4Conn3refEv",
            "++",
        ] {
            assert!(acquires(name) && !releases(name), "{name}");
        }
        for name in ["freeze", "get_length", "fputs", "output", "strlen", "prefer", "list_get_first"] {
            assert!(!acquires(name) && !releases(name), "{name}");
        }
    }
}

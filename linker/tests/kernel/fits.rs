//! Reading the kernel, and holding units against it.

use linker::{FunctionMatch, KernelContext, KernelImage, KernelObject, Symvers, fidelity};

use crate::little::{Layout, Little, table};
use crate::{A, B, C};

fn found(little: &Little, unit: &str, text: &str) -> Vec<(String, FunctionMatch)> {
    let image = KernelImage::read(&little.vmlinux).unwrap();
    let symvers = Symvers::default();
    let context = KernelContext { image: &image, modules: &[], symvers: &symvers };
    let fit = fidelity(unit, &KernelObject::Kernel, &little.sectioned(unit, text), &context).unwrap();
    fit.functions.into_iter().map(|f| (f.name, f.found)).collect()
}

#[test]
fn the_symbol_table_of_both_layouts_is_read() {
    for layout in [Layout::UpTo63, Layout::From64] {
        let little = Little::with_layout(&[("a", A), ("b", B), ("c", C)], layout);
        let image = KernelImage::read(&little.vmlinux).unwrap();
        let read: Vec<_> = image.symbols().iter().map(|s| (s.address, s.kind, s.name.clone())).collect();
        assert_eq!(read, little.names(), "{layout:?}");
        let step: Vec<u64> = image.named("step").map(|s| s.address).collect();
        assert_eq!(step.len(), 2);
        assert!(step.iter().all(|a| image.is_traceable(*a)));
        let untraced = image.named("untraced").next().unwrap().address;
        assert!(!image.is_traceable(untraced));
        assert!(image.is_sealed(image.named("inner").next().unwrap().address));
    }
}

#[test]
fn a_damaged_symbol_table_is_an_error() {
    let mut little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let names = little.names();
    let good = table(&names, Layout::UpTo63);
    let at = memchr::memmem::find(&little.vmlinux, &good).unwrap();
    // One name more than there are.
    let number = (4 * names.len()).next_multiple_of(8) + 8;
    little.vmlinux[at + number] += 1;
    let error = KernelImage::read(&little.vmlinux).unwrap_err().to_string();
    assert!(error.contains("layout"), "{error}");
    little.vmlinux[at..at + good.len()].fill(0);
    let error = KernelImage::read(&little.vmlinux).unwrap_err().to_string();
    assert!(error.contains("CONFIG_KALLSYMS"), "{error}");
}

#[test]
fn the_same_source_is_identical() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    for (unit, text) in [("a", A), ("b", B), ("c", C)] {
        for (name, found) in found(&little, unit, text) {
            // Of two definitions, the strong one of the other unit is linked.
            let want = if unit == "a" && name == "either" {
                FunctionMatch::Overridden
            } else {
                FunctionMatch::Identical
            };
            assert_eq!(found, want, "{name}");
        }
    }
}

/// Each of these differs in one place, which is named.
#[test]
fn another_source_is_seen() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    for (from, to, function, says) in [
        ("step(x) + 1", "step(x) + 4", "a_first", "here,"),
        ("a text", "a test", "a_text", "\"a test\" here, \"a text\" there"),
        ("return say(\"a text\") + 1", "return 1 + other(\"a text\")", "a_text", "`other` is not there"),
        ("say(", "exported(", "a_text", "it leads to `exported` here, to `say` there"),
    ] {
        let mut text = A.replace(from, to);
        if to.contains("other(") {
            text = text.replace("const char *a_text", "const char *other(const char *); const char *a_text");
        }
        let all = found(&little, "a", &text);
        let differing: Vec<_> =
            all.iter().filter(|(_, f)| matches!(f, FunctionMatch::Differs { .. })).collect();
        let [(name, FunctionMatch::Differs { detail, .. })] = differing.as_slice() else { panic!("{all:?}") };
        assert!(name == function && detail.contains(says), "{name}: {detail}");
    }
}

#[test]
fn a_function_that_is_not_there_is_missing() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let all = found(&little, "a", &format!("{A} int nowhere(int x) {{ return x; }}"));
    assert!(all.contains(&("nowhere".to_owned(), FunctionMatch::Missing)), "{all:?}");
}

/// Strings are merged and moved one by one, also those that a label of the compiler is left for.
#[test]
fn strings_are_found_one_by_one() {
    let a = format!(
        "{A} const char *s_one(const char *t) {{ return t == \"third\" ? say(\"second one\") : say(\"first one\"); }}
         asm(\".section .rodata.s_one.str1.1,\\\"aMS\\\",@progbits,1\\n.type left, @object\\nleft: .asciz \\\"left\\\"\\n.text\");"
    );
    let b = format!("{B} const char *b_text(void) {{ return \"longer than the first one\"; }}");
    let little = Little::new(&[("b", &b), ("a", &a), ("c", C)]);
    for (name, found) in found(&little, "a", &a) {
        assert!(matches!(found, FunctionMatch::Identical | FunctionMatch::Overridden), "{name}: {found:?}");
    }
}

//! The parts, and the module that is made of them.

use std::collections::BTreeMap;

use linker::{
    KernelContext, KernelImage, KernelModuleFile, KernelObject, KernelUnit, Parts, Symvers, Way, finish,
    parts,
};
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags};

use crate::cut::cut;
use crate::little::Little;
use crate::{A, B, C, HOOK, SYMVERS};

type File<'a> = ElfFile64<'a, object::LittleEndian>;

/// A unit before and after, and what is replaced.
pub(crate) struct Change<'a> {
    pub(crate) unit: &'a str,
    pub(crate) before: &'a str,
    pub(crate) after: &'a str,
    pub(crate) replaced: &'a [&'a str],
    pub(crate) object: KernelObject,
}

/// Makes the parts of some changes, and hands them to `then`.
pub(crate) fn with_parts<T>(
    little: &Little,
    modules: &[KernelModuleFile],
    changes: &[Change<'_>],
    then: impl FnOnce(Result<Parts, linker::LinkError>, &KernelContext<'_>) -> T,
) -> T {
    let image = KernelImage::read(&little.vmlinux).unwrap();
    let symvers = Symvers::read(SYMVERS).unwrap();
    let context = KernelContext { image: &image, modules, symvers: &symvers };
    let compiled: Vec<_> = changes
        .iter()
        .map(|change| {
            let original = little.sectioned(change.unit, change.before);
            let patched = little.sectioned(change.unit, change.after);
            let patch = cut(&original, &patched, change.replaced);
            (change, original, patch)
        })
        .collect();
    let units: Vec<KernelUnit<'_>> = compiled
        .iter()
        .map(|(change, original, patch)| KernelUnit {
            name: change.unit,
            object: change.object.clone(),
            original,
            patch,
        })
        .collect();
    then(parts(&units, &context), &context)
}

pub(crate) fn in_kernel<'a>(
    unit: &'a str,
    before: &'a str,
    after: &'a str,
    replaced: &'a [&'a str],
) -> Change<'a> {
    Change { unit, before, after, replaced, object: KernelObject::Kernel }
}

/// Symbol of the parts, and what it means: `object.name,position`, with `*` for livepatch.
fn meanings(parts: &Parts) -> BTreeMap<String, String> {
    let one = |r: &linker::Reference| {
        let mark = if r.way == Way::Exported { "" } else { "*" };
        (r.symbol.clone(), format!("{mark}{}.{},{}", r.object.name(), r.name, r.sympos))
    };
    parts.references.iter().map(one).collect()
}

#[test]
fn positions_are_those_of_the_unit() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    for (unit, text, function, position) in [("a", A, "a_first", 1), ("b", B, "b_first", 2)] {
        let after = text.replace(
            &format!("int {function}(int x) {{ return step(x)"),
            &format!("int {function}(int x) {{ count++; return step(x) * 9"),
        );
        assert_ne!(after, text);
        with_parts(&little, &[], &[in_kernel(unit, text, &after, &[function])], |parts, _| {
            let parts = parts.unwrap();
            let meanings = meanings(&parts);
            assert_eq!(meanings["step"], format!("*vmlinux.step,{position}"));
            assert_eq!(meanings["count"], format!("*vmlinux.count,{position}"));
            assert_eq!(meanings["__fentry__"], "vmlinux.__fentry__,0");
            let [replaced] = parts.functions.as_slice() else { panic!("{parts:?}") };
            assert_eq!((replaced.old_name.as_str(), replaced.sympos), (function, 0));
        });
    }
}

#[test]
fn two_units_share_what_is_new_and_keep_apart_what_has_one_name() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let a = A.replace(
        "int a_first(int x) {",
        "__attribute__((noinline)) int shared(int x) { return x + count; }\nint a_first(int x) { x = \
         shared(x);",
    );
    let b =
        B.replace("int b_first(int x) {", "int shared(int x);\nint b_first(int x) { x = shared(x) + count;");
    let changes = [in_kernel("a", A, &a, &["a_first", "step"]), in_kernel("b", B, &b, &["b_first", "step"])];
    with_parts(&little, &[], &changes, |parts, context| {
        let parts = parts.unwrap();
        let meanings = meanings(&parts);
        assert!(!meanings.contains_key("shared"), "{meanings:?}");
        let counts: Vec<_> =
            meanings.iter().filter(|(s, _)| s.starts_with("count")).map(|(_, m)| m.as_str()).collect();
        assert_eq!(counts.len(), 2);
        assert!(counts.contains(&"*vmlinux.count,1") && counts.contains(&"*vmlinux.count,2"), "{counts:?}");
        let steps: Vec<_> = parts.functions.iter().filter(|f| f.old_name == "step").collect();
        assert_eq!(steps.iter().map(|f| f.sympos).collect::<Vec<_>>(), [1, 2]);
        assert_ne!(steps[0].new_symbol, steps[1].new_symbol);
        let linked = little.link(&parts, HOOK);
        finish(&linked, &parts, context).unwrap();
    });
}

#[test]
fn the_module_has_livepatch_relocations_and_the_same_bytes_each_time() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let after = A.replace(
        "return step(x) + 1",
        "extern int exported(int); return exported(step(x)) + say(\"new\")[0]",
    );
    let after = after.replace("int a_first", "const char *say(const char *text);\nint a_first");
    with_parts(&little, &[], &[in_kernel("a", A, &after, &["a_first"])], |parts, context| {
        let parts = parts.unwrap();
        let module = finish(&little.link(&parts, HOOK), &parts, context).unwrap();
        assert_eq!(finish(&little.link(&parts, HOOK), &parts, context).unwrap(), module);
        let file = File::parse(&*module).unwrap();
        let mut livepatch: Vec<_> =
            file.symbols().filter_map(|s| s.name().ok()).filter(|n| n.starts_with(".klp")).collect();
        livepatch.sort_unstable();
        assert_eq!(livepatch, [".klp.sym.vmlinux.say,0", ".klp.sym.vmlinux.step,1"]);
        for symbol in file.symbols().filter(|s| s.name().is_ok_and(|n| n.starts_with(".klp"))) {
            assert_eq!(symbol.elf_symbol().st_shndx.get(object::LittleEndian).0, 0xff20);
        }
        let sections: Vec<_> =
            file.sections().filter(|s| s.name().is_ok_and(|n| n.starts_with(".klp.rela"))).collect();
        let [section] = sections.as_slice() else { panic!("{} sections", sections.len()) };
        assert_eq!(section.name().unwrap(), ".klp.rela.vmlinux..text.a_first");
        assert_eq!(section.size(), 2 * 24);
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { panic!() };
        assert_eq!(sh_flags.0, 0x2 | 0x40 | 0x0010_0000);
        let undefined: Vec<_> = file
            .symbols()
            .filter(|s| s.is_undefined())
            .filter_map(|s| s.name().ok())
            .filter(|n| !n.is_empty())
            .collect();
        assert_eq!(undefined, ["__fentry__", "exported"]);
    });
}

#[test]
fn an_address_of_a_replaced_function_is_the_old_one_and_a_call_the_new_one() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let after = A.replace(
        "return step(x) + 1",
        "static int (*volatile kept)(int); kept = a_first; return step(x) + 2",
    );
    let after = after
        .replace("int a_last(int x) {", "int a_last(int x) { x += a_first(x);")
        .replace("int a_first(int x)", "__attribute__((noinline, noclone)) int a_first(int x)");
    with_parts(&little, &[], &[in_kernel("a", A, &after, &["a_first", "a_last"])], |parts, context| {
        let parts = parts.unwrap();
        let old: Vec<_> = parts.references.iter().filter(|r| r.name == "a_first").collect();
        let [old] = old.as_slice() else { panic!("{:?}", parts.references) };
        assert_ne!(old.symbol, "a_first");
        let module = finish(&little.link(&parts, HOOK), &parts, context).unwrap();
        let file = File::parse(&*module).unwrap();
        let livepatch = file.section_by_name(".klp.rela.vmlinux..text.a_first").unwrap();
        assert_eq!(livepatch.size(), 2 * 24, "of step and of the address");
        assert!(file.section_by_name(".klp.rela.vmlinux..text.a_last").is_some());
    });
}

#[test]
fn static_calls_are_listed_with_their_keys() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let call = "asm volatile(\"call __SCT__called\" ::: \"memory\");";
    let after = A.replace("return step(x) + 1", &format!("{call} x = step(x) + 1; {call} return x"));
    with_parts(&little, &[], &[in_kernel("a", A, &after, &["a_first"])], |parts, context| {
        let parts = parts.unwrap();
        assert_eq!(meanings(&parts)["__SCK__called"], "*vmlinux.__SCK__called,0");
        let module = finish(&little.link(&parts, HOOK), &parts, context).unwrap();
        let file = File::parse(&*module).unwrap();
        let list = file.section_by_name(".static_call_sites").unwrap();
        assert_eq!(list.size(), 16);
        let keys = file.section_by_name(".klp.rela.vmlinux..static_call_sites").unwrap();
        assert_eq!(keys.size(), 2 * 24);
    });
}

const M: &str = "
    int exported(int x); int other_export(int x);
    static int state;
    __attribute__((noinline, noclone)) static int keep(int x) { state += x; return state; }
    int m_first(int x) { return keep(x) + exported(x) + other_export(2); }
    int m_last(int x) { return keep(x) * 2; }
";

#[test]
fn a_patch_of_a_module_refers_to_the_module_to_others_and_to_the_kernel() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let shipped = KernelModuleFile::read("lib/m-one.ko", &little.module("m", M)).unwrap();
    assert_eq!(shipped.name, "m_one");
    let after =
        M.replace("return keep(x) + exported(x)", "return keep(x) + state + exported(x) + a_first(3)");
    let after = after.replace("static int state", "int a_first(int);\nstatic int state");
    let change = Change {
        unit: "m",
        before: M,
        after: &after,
        replaced: &["m_first"],
        object: KernelObject::Module("m_one".to_owned()),
    };
    with_parts(&little, &[shipped], &[change], |parts, context| {
        let parts = parts.unwrap();
        let meanings = meanings(&parts);
        assert_eq!(meanings["keep"], "*m_one.keep,0");
        assert_eq!(meanings["state"], "*m_one.state,0");
        assert_eq!(meanings["exported"], "vmlinux.exported,0");
        assert_eq!(meanings["other_export"], "*other_one.other_export,0");
        assert_eq!(meanings["a_first"], "*vmlinux.a_first,0");
        let module = finish(&little.link(&parts, HOOK), &parts, context).unwrap();
        let file = File::parse(&*module).unwrap();
        assert_eq!(file.section_by_name(".klp.rela.m_one..text.m_first").unwrap().size(), 3 * 24);
        assert_eq!(file.section_by_name(".klp.rela.vmlinux..text.m_first").unwrap().size(), 24);
    });
}

#[test]
fn a_module_uses_what_the_patch_brings_for_the_kernel_and_not_the_other_way_round() {
    let little = Little::new(&[("a", A), ("b", B), ("c", C)]);
    let shipped = || KernelModuleFile::read("lib/m-one.ko", &little.module("m", M)).unwrap();
    let bring = |text: &str, before: &str| {
        text.replace(
            before,
            &format!(
                "int amount;\n__attribute__((noinline)) int brought(int x) {{ return x + amount; }}\n{before}"
            ),
        )
    };
    let a = bring(A, "int a_first(int x) {")
        .replace("int a_first(int x) {", "int a_first(int x) { x = brought(x);");
    let m = M.replace(
        "int m_first(int x) {",
        "extern int amount; int brought(int);\nint m_first(int x) { x = brought(x) + amount;",
    );
    let module = |after| Change {
        unit: "m",
        before: M,
        after,
        replaced: &["m_first"],
        object: KernelObject::Module("m_one".to_owned()),
    };
    let changes = [in_kernel("a", A, &a, &["a_first"]), module(&m)];
    with_parts(&little, &[shipped()], &changes, |parts, context| {
        let parts = parts.unwrap();
        let meanings = meanings(&parts);
        assert!(!meanings.contains_key("brought") && !meanings.contains_key("amount"), "{meanings:?}");
        finish(&little.link(&parts, HOOK), &parts, context).unwrap();
    });

    let m = bring(M, "int m_first(int x) {")
        .replace("int m_first(int x) {", "int m_first(int x) { x = brought(x);");
    let a = A.replace("int a_first(int x) {", "int brought(int);\nint a_first(int x) { x = brought(x);");
    let changes = [in_kernel("a", A, &a, &["a_first"]), module(&m)];
    with_parts(&little, &[shipped()], &changes, |parts, _| {
        let refused = parts.unwrap_err().to_string();
        assert!(refused.contains("brought"), "{refused}");
    });
}

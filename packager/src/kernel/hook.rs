//! The source that registers the patch: which functions replace which.

use super::callbacks::Callback;
use linker::{KernelObject, Parts, ReplacedFunction};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text of `hook.c` for these parts and hooks, in which the module's version is `version`.
pub(super) fn source(parts: &Parts, callbacks: &[Callback], version: &str) -> String {
    let mut out = String::from(
        "/* Made by upatch-build. */\n#include <linux/module.h>\n#include <linux/kernel.h>\n\
         #include <linux/livepatch.h>\n\n",
    );
    let mut objects: Vec<&KernelObject> = parts.functions.iter().map(|f| &f.object).collect();
    objects.extend(callbacks.iter().map(|c| &c.object));
    objects.sort();
    objects.dedup();
    for (number, function) in parts.functions.iter().enumerate() {
        let _ = writeln!(out, "extern char new_{number}[] __asm__({});", quoted(&function.new_symbol));
    }
    for (number, object) in objects.iter().enumerate() {
        let _ = writeln!(out, "\nstatic struct klp_func functions_{number}[] = {{");
        let all = parts.functions.iter().enumerate().filter(|(_, f)| f.object == **object);
        for (index, ReplacedFunction { old_name, sympos, .. }) in all {
            let _ = writeln!(
                out,
                "\t{{ .old_name = {}, .new_func = new_{index}, .old_sympos = {sympos} }},",
                quoted(old_name)
            );
        }
        out.push_str("\t{ }\n};\n");
        for (member, all) in by_member(callbacks, object) {
            caller(&mut out, number, member, &all);
        }
    }
    out.push_str("\nstatic struct klp_object objects[] = {\n");
    for (number, object) in objects.iter().enumerate() {
        let name = match object {
            KernelObject::Kernel => String::new(),
            KernelObject::Module(name) => format!(".name = {}, ", quoted(name)),
        };
        let calls = by_member(callbacks, object).into_iter();
        let calls: Vec<String> = calls.map(|(member, _)| format!(".{member} = {member}_{number}")).collect();
        let calls = if calls.is_empty() {
            String::new()
        } else {
            format!(", .callbacks = {{ {} }}", calls.join(", "))
        };
        let _ = writeln!(out, "\t{{ {name}.funcs = functions_{number}{calls} }},");
    }
    out.push_str("\t{ }\n};\n\n");
    out.push_str("static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };\n\n");
    out.push_str("static int __init upatch_init(void)\n{\n\treturn klp_enable_patch(&patch);\n}\n\n");
    out.push_str("static void __exit upatch_exit(void)\n{\n}\n\n");
    out.push_str("module_init(upatch_init);\nmodule_exit(upatch_exit);\nMODULE_LICENSE(\"GPL\");\n");
    let _ = writeln!(out, "MODULE_VERSION({});\nMODULE_INFO(livepatch, \"Y\");", quoted(version));
    out
}

/// The hooks of an object, by what the kernel calls them for.
fn by_member<'c>(callbacks: &'c [Callback], object: &KernelObject) -> BTreeMap<&'static str, Vec<&'c str>> {
    let mut all: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for callback in callbacks.iter().filter(|c| c.object == *object) {
        all.entry(callback.member).or_default().push(&callback.symbol);
    }
    all
}

/// A function that calls all hooks of one kind. The first that refuses has the last word.
fn caller(out: &mut String, number: usize, member: &str, hooks: &[&str]) {
    let can_refuse = member == "pre_patch";
    let kind = if can_refuse { "int" } else { "void" };
    for hook in hooks {
        let _ = writeln!(out, "\nextern {kind} {hook}(struct klp_object *object);");
    }
    let _ = writeln!(out, "\nstatic {kind} {member}_{number}(struct klp_object *object)\n{{");
    if can_refuse {
        out.push_str("\tint code;\n\n");
    }
    for hook in hooks {
        let _ = match can_refuse {
            true => writeln!(out, "\tcode = {hook}(object);\n\tif (code)\n\t\treturn code;"),
            false => writeln!(out, "\t{hook}(object);"),
        };
    }
    out.push_str(if can_refuse { "\treturn 0;\n}\n" } else { "}\n" });
}

/// A C string.
fn quoted(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => String::new(),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_by_object() {
        let function = |object: KernelObject, name: &str, sympos| ReplacedFunction {
            object,
            old_name: name.into(),
            sympos,
            new_symbol: format!("{name}.new"),
        };
        let parts = Parts {
            objects: vec![],
            functions: vec![
                function(KernelObject::Module("nf_tables".into()), "b", 2),
                function(KernelObject::Kernel, "a", 0),
            ],
            references: vec![],
        };
        let callback =
            |member, symbol: &str| Callback { object: KernelObject::Kernel, member, symbol: symbol.into() };
        let hooks =
            [callback("pre_patch", "one"), callback("pre_patch", "two"), callback("post_patch", "three")];
        let text = source(&parts, &hooks, "1-2");
        for line in [
            "extern char new_1[] __asm__(\"a.new\");",
            "{ .old_name = \"b\", .new_func = new_0, .old_sympos = 2 },",
            "{ .funcs = functions_0, .callbacks = { .post_patch = post_patch_0, .pre_patch = pre_patch_0 } },",
            "\tcode = two(object);",
            "{ .name = \"nf_tables\", .funcs = functions_1 },",
            "MODULE_VERSION(\"1-2\");",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}

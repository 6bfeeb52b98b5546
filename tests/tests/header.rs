//! `upatch.h` by itself: it compiles everywhere without a warning, and shadow variables hold in threads.

use anyhow::{Result, ensure};
use tests::paths;
use tests::run::Cmd;

#[test]
fn shadow_variables_hold_in_threads() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let program = dir.path().join("stress");
    Cmd::new("gcc")
        .args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", "-fsanitize=undefined", "-I"])
        .arg(paths::repository().join("packager/include"))
        .arg(paths::testdata("builds").join("shadow/stress.c"))
        .arg("-o")
        .arg(&program)
        .run()?
        .ok()?;
    let ended = Cmd::new(&program).run()?.ok()?;
    ensure!(ended.stdout == "right\n", "{}", ended.account());
    Ok(())
}

#[test]
fn compiles_as_c_and_cplusplus_without_a_warning() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("source");
    std::fs::write(
        &source,
        "#define UPATCH_SHADOW\n#include \"upatch.h\"\n\
         void *of(void *object);\n\
         void *of(void *object) { return upatch_shadow_get(object, 1); }\n\
         UPATCH_PRE_APPLY(one) { return 0; }\nUPATCH_POST_APPLY(two) { }\n\
         UPATCH_PRE_UNAPPLY(three) { return 0; }\nUPATCH_POST_UNAPPLY(four) { }\n",
    )?;
    for (compiler, language, standard) in [
        ("gcc", "c", "-std=c99"),
        ("gcc", "c", "-std=gnu17"),
        ("clang", "c", "-std=c11"),
        ("g++", "c++", "-std=c++11"),
        ("clang++", "c++", "-std=c++20"),
    ] {
        Cmd::new(compiler)
            .args([
                "-Wall",
                "-Wextra",
                "-pedantic",
                "-Werror",
                "-O2",
                standard,
                "-D_GNU_SOURCE",
                "-x",
                language,
                "-I",
            ])
            .arg(paths::repository().join("packager/include"))
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(dir.path().join("object"))
            .run()?
            .ok()?;
    }
    Ok(())
}

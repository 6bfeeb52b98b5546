//! Patches of the kernel, on a little kernel that is compiled and linked here; and the readers on real
//! kernels, where `scripts/kernel` has fetched some.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]

mod cut;
mod fits;
mod little;
mod module;
mod real;
mod refused;

/// Two units with much in common: a static function and a static variable of the same name, in equal code.
pub(crate) const A: &str = "
    static int count;
    __attribute__((noinline, noclone)) static int step(int x) { count += x; return count; }
    int a_first(int x) { return step(x) + 1; }
    __attribute__((weak, noinline)) int either(void) { return 1; }
    const char *say(const char *text);
    const char *a_text(void) { return say(\"a text\") + 1; }
    int a_last(int x) { return step(x + 1) * 3 + either(); }
";
pub(crate) const B: &str = "
    static int count;
    __attribute__((noinline, noclone)) static int step(int x) { count += x; return count; }
    int b_first(int x) { return step(x) + 2; }
    int either(void) { return 2; }
    int b_last(int x) { return step(x + 5) - 3; }
";
pub(crate) const C: &str = "
    int exported(int x) { return x * 3; }
    int inner(int x) { return x * 5; }
    const char *say(const char *text) { return text + 2; }
    __attribute__((no_instrument_function)) int untraced(int x) { return x * 7; }
    __attribute__((section(\".init.data\"))) int at_start = 3;
    asm(\".globl __fentry__\\n__fentry__: ret\\n.globl __SCT__called\\n__SCT__called: ret\\n\"
        \".data\\n.globl __SCK__called\\n__SCK__called: .quad 0\\n.text\\n\"
        \".pushsection .ibt_endbr_seal,\\\"a\\\"\\n.long inner - .\\n.popsection\");
";
pub(crate) const SYMVERS: &str = "0x1\t__fentry__\tvmlinux\tEXPORT_SYMBOL\t\n0x2\texported\tvmlinux\tEXPORT_SYMBOL\t\n\
                           0x3\tother_export\tdrivers/other-one\tEXPORT_SYMBOL_GPL\t\n\
                           0x4\tinner\tvmlinux\tEXPORT_SYMBOL\tSPACE\n";
/// What the code that registers the patch brings.
pub(crate) const HOOK: &str = ".section .modinfo,\"a\"\n.asciz \"livepatch=Y\"\n";

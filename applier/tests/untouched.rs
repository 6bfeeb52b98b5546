//! What a thread has beyond its general registers is as before: vector registers of every width, control
//! words, segment bases, and the promise of a restartable sequence.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "helpers of tests may fail the test"
)]

mod common;

use applier::Options;
use common::{Target, apply_patiently, compile, deactivate_patiently, image::pair_patch};
use std::path::Path;

/// In and out, each time with another patch, so that each round also borrows the thread to map an image. The
/// answers begin with what the functions give; `same` is asked about the rest.
fn rounds(program: &Path, count: usize, same: impl Fn(&str) -> bool) {
    let mut target = Target::start(program);
    for round in 0..count {
        let patch = pair_patch(program, &format!("round {round}"));
        apply_patiently(target.pid(), &patch, &Options::default());
        let answer = target.ask();
        assert!(answer.strip_prefix("11 22 ").is_some_and(&same), "round {round}: {answer}");
        deactivate_patiently(target.pid(), &patch);
        let answer = target.ask();
        assert!(answer.strip_prefix("1 2 ").is_some_and(&same), "round {round}: {answer}");
    }
}

const HEAD: &str = r#"
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((noipa)) int one(void) { return 1; }
__attribute__((noipa)) int two(void) { return 2; }
static int asked(void) {
    struct pollfd in = { 0, POLLIN, 0 };
    char c;
    if (poll(&in, 1, 0) != 1) return 0;
    if (read(0, &c, 1) != 1) exit(0);
    return 1;
}
"#;

/// Values in all 32 wide registers, the masks and the control words, over a moment that is as long as
/// possible.
const WIDE: &str = r#"
#include <asm/prctl.h>
#include <sys/syscall.h>
static __attribute__((noipa, target("avx512f"))) unsigned long changed(unsigned long pattern) {
    unsigned long bad = 0, gs = 0;
    uint64_t kept[8] __attribute__((aligned(64)));
    uint32_t mxcsr = 0x9fc0 | 0x6000, mxcsr_after;
    uint16_t control = 0x27f | 0xc00, control_after;
    // Rounding towards zero in both; denormals are zeros.
    __asm__ volatile("ldmxcsr %0\nfldcw %1" :: "m"(mxcsr), "m"(control));
    __asm__ volatile(
        "vpbroadcastq %[p], %%zmm31\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
        "vmovdqa64 %%zmm31, %%zmm\\n\n.endr\n"
        ".irp n,1,2,3,4,5,6,7\nkmovw %k[p], %%k\\n\n.endr\n"
        "mov $300000, %%ecx\n1: dec %%ecx\njnz 1b\n"
        ".irp n,1,2,3,4,5,6,7\nkmovw %%k\\n, %%ecx\nxorw %w[p], %%cx\nmovzwl %%cx, %%ecx\nor %%rcx, %[bad]\n.endr\n"
        "kxnorw %%k1, %%k1, %%k1\n"
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30\n"
        "vpcmpneqq %%zmm31, %%zmm\\n, %%k2\nkmovw %%k2, %%ecx\nor %%rcx, %[bad]\n.endr\n"
        "vmovdqa64 %%zmm31, %[kept]\n"
        "vzeroupper\n"
        : [bad] "+&r"(bad), [kept] "=m"(kept)
        : [p] "r"(pattern)
        : "rcx", "cc", "memory", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18",
          "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
    for (int i = 0; i < 8; i++) bad |= kept[i] ^ pattern;
    __asm__ volatile("stmxcsr %0\nfnstcw %1" : "=m"(mxcsr_after), "=m"(control_after));
    bad |= (mxcsr_after & ~0x3f) ^ (mxcsr & ~0x3f);
    bad |= control_after ^ control;
    syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
    return bad | (gs ^ 0x1234567000);
}
int main(void) {
    unsigned long failures = 0, fs = 0, now;
    setvbuf(stdout, 0, _IONBF, 0);
    syscall(SYS_arch_prctl, ARCH_SET_GS, 0x1234567000);
    syscall(SYS_arch_prctl, ARCH_GET_FS, &fs);
    int wide = __builtin_cpu_supports("avx512f");
    for (unsigned long i = 1;; i++) {
        if (wide) failures |= changed(i * 0x9e3779b97f4a7c15ul);
        syscall(SYS_arch_prctl, ARCH_GET_FS, &now);
        failures |= fs ^ now;
        if (asked()) printf("%d %d %lx\n", one(), two(), failures);
    }
}
"#;

#[test]
fn wide_registers_control_words_and_segment_bases() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "wide", &format!("{HEAD}{WIDE}"), &[]);
    rounds(&program, 15, |rest| rest == "0");
}

/// A restartable sequence (rseq(2), linux/rseq.h) that is nearly always under way. The kernel lets a thread
/// out of it by the abort address when it has been away; were it only forgotten that the thread was in one,
/// it would go on to its end, which is told.
const RESTARTABLE: &str = r#"
#include <sys/rseq.h>
struct sequence { uint32_t version, flags; uint64_t start, length, abort; } __attribute__((aligned(32)));
static unsigned long forgotten, aborted;
static __attribute__((noinline)) void run(void) {
    struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
    unsigned long result;
    __asm__ volatile(
        ".pushsection .data.sequence, \"aw\"\n.balign 32\n"
        "7: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
        "lea 7b(%%rip), %%rdx\n"
        "mov %%rdx, 8(%[area])\n"
        "1: mov $300000, %%ecx\n"
        "3: dec %%ecx\njnz 3b\n"
        // Still in it, so it must still be known.
        "mov 8(%[area]), %[result]\n"
        "2: sub %%rdx, %[result]\n"
        "jmp 5f\n"
        ".byte 0x0f, 0xb9, 0x3d\n.long %c[signature]\n"
        "4: mov $-1, %[result]\n"
        "5:\n"
        : [result] "=&r"(result)
        : [area] "r"(area), [signature] "i"(RSEQ_SIG)
        : "rcx", "rdx", "cc", "memory");
    if (result == -1ul) aborted++;
    else if (result) forgotten++;
    area->rseq_cs = 0;
}
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (;;) {
        run();
        if (asked()) printf("%d %d %lu %s\n", one(), two(), forgotten, __rseq_size ? aborted ? "some" : "none" : "absent");
    }
}
"#;

#[test]
fn a_restartable_sequence_is_aborted_or_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "sequence", &format!("{HEAD}{RESTARTABLE}"), &[]);
    rounds(&program, 30, |rest| rest.starts_with("0 "));
}

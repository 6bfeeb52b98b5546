/* What the kernel's headers make of code, as far as the comparison sees it; written for these tests. */
#define noinline __attribute__((noinline, noclone, noipa))
#define notrace __attribute__((no_instrument_function))
#define __section(name) __attribute__((section(name)))
#ifdef PATCHED
#define patched(...) __VA_ARGS__
#else
#define patched(...)
#endif
#ifndef ALT_FLAGS
#define ALT_FLAGS
#endif

struct key { long enabled; void *entries; };
extern int sink(int);

/* A warning: `struct bug_entry`. */
#define WARN(line) asm volatile("1: ud2\n.pushsection __bug_table,\"aw\"\n2: .long 1b - ., %c0 - .\n" \
	".word %c1, 0\n.org 2b+12\n.popsection" : : "i"(__FILE__), "i"(line))

/* A branch that a key switches: `struct jump_entry`. */
static inline __attribute__((always_inline)) int branch(struct key *key)
{
	asm goto("1: .byte 0x0f,0x1f,0x44,0x00,0x00\n.pushsection __jump_table,\"aw\"\n.balign 8\n"
		".long 1b - ., %l[yes] - .\n.quad %c0 - .\n.popsection" : : "i"(key) : : yes);
	return 0;
yes:
	return 1;
}

/* Alternative instructions: `struct alt_instr`, with the replacement in a section of its own. */
#define ALTERNATIVE(with) asm volatile("771: .byte 0x0f,0x1f,0x44,0x00,0x00\n772:\n" \
	".pushsection .altinstructions,\"a\"\n.long 771b - ., 773f - .\n.word 5\n" ALT_FLAGS \
	"\n.byte 772b-771b, 774f-773f\n.popsection\n.pushsection .altinstr_replacement,\"ax\"\n" \
	"773: " with "\n774:\n.popsection" : : : "memory")

/* A lock prefix that is left out on one processor. */
#define LOCKED(x) asm volatile(".pushsection .smp_locks,\"a\"\n.balign 4\n.long 671f - .\n.popsection\n" \
	"671: lock; incl %0" : "+m"(x))

/* An instruction that may fault: `struct exception_table_entry`. */
#define MAY_FAULT(p) asm volatile("1: movl %0, %%eax\n2:\n.pushsection __ex_table,\"a\"\n.balign 4\n" \
	".long 1b - ., 2b - .\n.long 3\n.popsection" : : "m"(*(p)) : "eax")

/* Something that is said once. */
#define ONCE() ({ static _Bool __section(".data.once") __already_done; \
	if (!__already_done) { __already_done = 1; sink(__LINE__); } })

/* Runs the random program each time it is told to. `f`: with its variables as they were at start; `r`: as the last run left them. What the
   patched program prints can then be compared with what a fresh start of a cold-built one prints. Nothing of this file's own lives in
   memory that is set back: all is on the stack of `main`. */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

int unit_main(void);

struct range { char *start, *saved; size_t size; };
struct state { struct range ranges[16]; int count; void (*entry)(void); };

static void add(struct state *s, char *start, size_t size) {
    if (size == 0 || s->count == 16) return;
    struct range *r = &s->ranges[s->count++];
    r->start = start;
    r->size = size;
    r->saved = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->saved == MAP_FAILED) _exit(9);
    memcpy(r->saved, start, size);
}

/* Writable memory and thread-local variables of the module that holds `unit_main`, without what the loader has made read-only. */
static int module(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    struct state *s = data;
    uintptr_t at = (uintptr_t)s->entry, relro = 0, relro_end = 0;
    int ours = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && at >= start && at < start + p->p_memsz) ours = 1;
        if (p->p_type == PT_GNU_RELRO) relro = start & -4096ul, relro_end = (start + p->p_memsz) & -4096ul;
    }
    if (!ours) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + p->p_vaddr, end = start + p->p_memsz;
        if (p->p_type == PT_TLS && info->dlpi_tls_data) add(s, info->dlpi_tls_data, p->p_memsz);
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_W)) continue;
        if (relro < relro_end && start < relro_end && end > relro) {
            if (start < relro) add(s, (char *)start, relro - start);
            start = relro_end;
        }
        if (start < end) add(s, (char *)start, end - start);
    }
    return 1;
}

static void limit(long milliseconds) {
    struct itimerval t = {{0, 0}, {milliseconds / 1000, milliseconds % 1000 * 1000}};
    setitimer(ITIMER_VIRTUAL, &t, 0);
}

int main(int argc, char **argv) {
    struct state s = {.count = 0};
    long most = argc > 1 ? atol(argv[1]) : 0;
    char order;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);

    s.entry = (void (*)(void))unit_main;
    dl_iterate_phdr(module, &s);
    if (s.count == 0) return 8;
    while (read(0, &order, 1) == 1) {
        if (order == 'f')
            for (int i = 0; i < s.count; i++) memcpy(s.ranges[i].start, s.ranges[i].saved, s.ranges[i].size);
        limit(most);
        unit_main();
        limit(0);
        fflush(stdout);
        if (write(1, "\n--\n", 4) != 4) return 7;
    }
    return 0;
}

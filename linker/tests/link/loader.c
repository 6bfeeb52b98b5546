/* Loads a patch image into the program that it is preloaded into, before main. A stand-in for the applier: no quiescing, no control of
   what could go wrong; it only shows that the image is right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

static const char *wanted;
static uintptr_t bias, low;
static int found;

static int module(struct dl_phdr_info *info, size_t size, void *data)
{
	const char *name = info->dlpi_name[0] ? strrchr(info->dlpi_name, '/') : "/main";
	(void)size, (void)data;
	if (strcmp(name ? name + 1 : info->dlpi_name, wanted))
		return 0;
	bias = info->dlpi_addr, found = 1;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD) {
			low = bias + info->dlpi_phdr[i].p_vaddr;
			break;
		}
	return 1;
}

#define FAIL(...) (fprintf(stderr, "loader: " __VA_ARGS__), fputc('\n', stderr), _exit(99))
extern void _exit(int);
extern void __register_frame(void *) __attribute__((weak));

__attribute__((constructor)) static void load(void)
{
	FILE *f = fopen(getenv("IMAGE"), "r");
	char word[32], *image = 0;
	uintptr_t refs[256];
	unsigned nrefs = 0;
	if (!f)
		FAIL("no image");
	wanted = getenv("MODULE");
	dl_iterate_phdr(module, 0);
	if (!found)
		FAIL("no module %s", wanted);
	while (fscanf(f, "%31s", word) == 1) {
		if (!strcmp(word, "size")) {
			unsigned long size;
			fscanf(f, "%lx", &size);
			for (uintptr_t at = low - size - 0x10000 & ~0xfffUL; at + (1UL << 30) > low && at > 0x10000; at -= 0x100000) {
				image = mmap((void *)at, size, PROT_READ | PROT_WRITE | PROT_EXEC,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
				if (image != MAP_FAILED)
					break;
			}
			for (uintptr_t at = low + 0x1000000 & ~0xfffUL; !image || image == MAP_FAILED; at += 0x100000)
				image = mmap((void *)at, size, PROT_READ | PROT_WRITE | PROT_EXEC,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		} else if (!strcmp(word, "bytes")) {
			unsigned long at, n;
			fscanf(f, "%lx %lx", &at, &n);
			for (unsigned b; n--; at++)
				fscanf(f, "%2x", &b), image[at] = b;
		} else if (!strcmp(word, "image")) {
			refs[nrefs++] = (uintptr_t)image;
		} else if (!strcmp(word, "target")) {
			refs[nrefs++] = bias;
		} else if (!strcmp(word, "word")) {
			unsigned long at;
			fscanf(f, "%lx", &at);
			refs[nrefs++] = *(uintptr_t *)(bias + at);
		} else if (!strcmp(word, "import")) {
			char name[256], version[256];
			void *p;
			fscanf(f, "%255s %255s", name, version);
			p = dlsym(RTLD_DEFAULT, name);
			/* The program's own comes before a library's of whatever version, as in any link. */
			Dl_info where;
			if (version[0] != '-' && !(p && dladdr(p, &where) &&
						   (uintptr_t)where.dli_fbase == (getauxval(AT_PHDR) & ~0xfffUL)))
				p = dlvsym(RTLD_DEFAULT, name, version);
			if (!p)
				FAIL("no symbol %s %s", name, version);
			refs[nrefs++] = (uintptr_t)p;
		} else if (!strcmp(word, "reloc")) {
			unsigned long at;
			long addend, v;
			unsigned ref;
			char kind[16];
			fscanf(f, "%lx %15s %u %ld", &at, kind, &ref, &addend);
			v = refs[ref] + addend;
			if (!strcmp(kind, "Pc32") || !strcmp(kind, "Pc64"))
				v -= (long)(image + at);
			if ((!strcmp(kind, "Pc32") || !strcmp(kind, "Abs32Signed")) && v != (int32_t)v)
				FAIL("out of reach at %lx", at);
			if (!strcmp(kind, "Abs32") && v != (uint32_t)v)
				FAIL("out of reach at %lx", at);
			memcpy(image + at, &v, strchr(kind, '6') ? 8 : 4);
		} else if (!strcmp(word, "frames")) {
			unsigned long at;
			fscanf(f, "%lx", &at);
			if (__register_frame)
				__register_frame(image + at);
		} else if (!strcmp(word, "redirect")) {
			/* Entry, expected bytes, where the jump goes, index, where `previous` points to. */
			unsigned long site, to, index, previous;
			unsigned b;
			fscanf(f, "%lx %lx %lx %lx", &site, &to, &index, &previous);
			char *p = (char *)bias + site;
			for (int i = 0; i < 5; i++)
				if (fscanf(f, "%2x", &b), (unsigned char)p[i] != b)
					FAIL("other bytes at %lx", site);
			mprotect((void *)((uintptr_t)p & ~0xfffUL), 0x2000, PROT_READ | PROT_WRITE | PROT_EXEC);
			int32_t distance = image + to - (p + 5);
			p[0] = (char)0xe9;
			memcpy(p + 1, &distance, 4);
			uintptr_t resume = (uintptr_t)image + previous;
			memcpy(image + 128 + 64 * index + 8, &resume, 8);
		} else if (!strcmp(word, "active")) {
			unsigned v;
			fscanf(f, "%u", &v);
			image[32] = v;
		} else
			FAIL("what is %s?", word);
	}
	fclose(f);
}

/* Top of each unit of a random program, on both sides. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <errno.h>
#include <ctype.h>
#include <setjmp.h>
#include <stddef.h>
/* What has been said can grow large where a feature is called in a loop. */
static int say_budget = 40;
#define SAY(...) do { if (say_budget > 0) { say_budget--; printf(__VA_ARGS__); } } while (0)
#define MIX(a, b) ((uint32_t)(a) * 2654435761u ^ ((uint32_t)(b) + ((uint32_t)(a) >> 15)))
#define NOINLINE __attribute__((noinline))
static uint32_t acc = 1;

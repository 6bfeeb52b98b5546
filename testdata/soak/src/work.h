/* What the patch changes: 11 and 22 before, 12 and 24 with it, for 1. */
int work(int value) __attribute__((noinline, noclone));
int outer(int value) __attribute__((noinline, noclone));

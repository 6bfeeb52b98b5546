# Writes 200 units that all include one header, and a Makefile for them.
set -e
objects=
calls=
for number in $(seq 200); do
    printf '#include "matrix.h"\nint unit_%d(int value);\nint unit_%d(int value) { return bounded(value + %d); }\n' \
        "$number" "$number" "$number" > "unit_$number.c"
    objects="$objects unit_$number.o"
    calls="$calls sum += unit_$number(value);"
    printf 'int unit_%d(int value);\n' "$number" >> units.h
done
printf '#include "matrix.h"\n#include "units.h"\nint calc(int value, char *reply, size_t size);\n' > calc.c
printf '#include <stdio.h>\nint calc(int value, char *reply, size_t size)\n{ int sum = 0; %s return snprintf(reply, size, "%%d", sum); }\n' \
    "$calls" >> calc.c
printf 'matrix: server.o answer.o calc.o checksum.o first.o second.o %s\n\t$(CC) -o $@ $^\n%%.o: %%.c\n\t$(CC) -O1 -g -c -o $@ $<\n' \
    "$objects" > Makefile

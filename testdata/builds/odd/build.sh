# The program, from sources that are called what nobody would call them. File names are bytes; a repository may not hold these.
set -e
cp calc.c "a 'name' with \"quotes\".c"
cp answer.c "line
break.c"
cp checksum.c "$(printf 'no\377text.c')"
cp first.c './-dash $HOME `x`.c'
mkdir -p 'dir with blank'
cp second.c 'dir with blank/back\slash.c'
printf '%s\n' '-I.' '-O2' '-g' '"a '"'name'"' with \"quotes\".c"' > 'flags and file'
gcc -c @'flags and file' -o 'a b.o'
gcc -I. -O2 -g -c "line
break.c" -o line.o
gcc -I. -O2 -g -c "$(printf 'no\377text.c')"
gcc -I. -O2 -g -c './-dash $HOME `x`.c' -o dash.o
gcc -I. -O2 -g -c 'dir with blank/back\slash.c' -o 'dir with blank/back\slash.o'
gcc -I. -O2 -g -c server.c
gcc -o matrix server.o 'a b.o' line.o "$(printf 'no\377text.o')" dash.o 'dir with blank/back\slash.o'

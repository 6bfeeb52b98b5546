# Builds `prog`: all sources in one program, or all but the driver in a library beside it.
objects=
for source in *.c *.S *.cpp; do
	[ -e "$source" ] && [ "$source" != driver.c ] || continue
	object=${source%.*}.o
	case $source in
	*.cpp) $CXX $CFLAGS -c "$source" -o "$object"; link=$CXX ;;
	*) $CC $CFLAGS -c "$source" -o "$object" ;;
	esac
	objects="$objects $object"
done
: "${link:=$CC}"
$CC $CFLAGS -c driver.c
if [ "$KIND" = library ]; then
	$link $CFLAGS -shared $LDFLAGS $objects -o libcase.so $LIBS
	$link $CFLAGS driver.o -o prog -L. -lcase -Wl,-rpath,'$ORIGIN' $LIBS
else
	$link $CFLAGS $LDFLAGS $objects driver.o -o prog $LIBS
fi

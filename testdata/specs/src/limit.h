#define FACTOR 3
#ifndef NAME
#define NAME "tiny"
#endif

// Answers with the bytes of a message, in hexadecimal.
#include <cstdio>
#include <string>

#include "note.pb.h"

extern "C" void answer(const char *line, char *reply, size_t size)
{
    Note note;
    std::string bytes;
    size_t at = 0;

    note.set_text(line);
    note.set_number(5);
    note.SerializeToString(&bytes);
    reply[0] = 0;
    for (unsigned char byte : bytes)
        if (at + 3 < size)
            at += snprintf(reply + at, size - at, "%02x", byte);
}

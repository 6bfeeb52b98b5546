#!/bin/bash
# libsndfile: sound written and read through memory in many formats.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lsndfile -lm <<'C'
#include <sndfile.h>
#include <math.h>
static unsigned char store[1 << 20]; static sf_count_t used, at;
static sf_count_t length(void *user) { return used; }
static sf_count_t seek(sf_count_t offset, int whence, void *user) {
    at = whence == SEEK_SET ? offset : whence == SEEK_CUR ? at + offset : used + offset; return at;
}
static sf_count_t get(void *data, sf_count_t count, void *user) {
    if (count > used - at) count = used - at;
    memcpy(data, store + at, count); at += count; return count;
}
static sf_count_t put(const void *data, sf_count_t count, void *user) {
    memcpy(store + at, data, count); at += count; if (at > used) used = at; return count;
}
static sf_count_t tell(void *user) { return at; }
static void work(void) {
    SF_VIRTUAL_IO io = {length, seek, get, put, tell};
    static const int formats[] = {SF_FORMAT_WAV | SF_FORMAT_PCM_16, SF_FORMAT_WAV | SF_FORMAT_FLOAT, SF_FORMAT_WAV | SF_FORMAT_IMA_ADPCM,
        SF_FORMAT_WAV | SF_FORMAT_MS_ADPCM, SF_FORMAT_AIFF | SF_FORMAT_PCM_24, SF_FORMAT_AU | SF_FORMAT_ULAW, SF_FORMAT_AU | SF_FORMAT_G721_32,
        SF_FORMAT_CAF | SF_FORMAT_ALAC_16, SF_FORMAT_FLAC | SF_FORMAT_PCM_16, SF_FORMAT_W64 | SF_FORMAT_DOUBLE, SF_FORMAT_VOC | SF_FORMAT_PCM_U8,
        SF_FORMAT_NIST | SF_FORMAT_PCM_32, SF_FORMAT_MAT4 | SF_FORMAT_DOUBLE, SF_FORMAT_MAT5 | SF_FORMAT_PCM_16, SF_FORMAT_IRCAM | SF_FORMAT_ALAW,
        SF_FORMAT_PAF | SF_FORMAT_PCM_24, SF_FORMAT_SVX | SF_FORMAT_PCM_16, SF_FORMAT_RF64 | SF_FORMAT_PCM_16, SF_FORMAT_AVR | SF_FORMAT_PCM_16};
    for (unsigned f = 0; f < sizeof formats / sizeof *formats; f++) {
        for (int channels = 1; channels <= 2; channels++) {
            SF_INFO info = {.samplerate = 22050, .channels = channels, .format = formats[f]};
            used = at = 0; memset(store, 0, sizeof store);
            SNDFILE *file = sf_open_virtual(&io, SFM_WRITE, &info, NULL);
            printf("%x %d:", formats[f], channels);
            if (!file) { printf(" %s\n", sf_strerror(NULL)); continue; }
            short samples[4096];
            for (int i = 0; i < 4096; i++) samples[i] = 12000 * sin(i * 0.05) + (i * 7919 % 640);
            sf_set_string(file, SF_STR_TITLE, "a tone");
            printf(" wrote %ld", (long)sf_write_short(file, samples, 4096));
            sf_close(file);
            SF_INFO back = {0};
            at = 0;
            file = sf_open_virtual(&io, SFM_READ, &back, NULL);
            if (!file) { printf(" %s\n", sf_strerror(NULL)); continue; }
            double read[5000]; memset(read, 0, sizeof read);
            long count = sf_read_double(file, read, 5000);
            printf(" read %ld %ld frames %d Hz %x", count, (long)back.frames, back.samplerate, back.format);
            long sought = sf_seek(file, 100, SEEK_SET);
            printf(" sought %ld sum %lx\n", sought, sum(read, sizeof read));
            sf_close(file);
        }
    }
}
C
}
probe() { ask "end of work"; }
run "$@"

#!/bin/bash
# libde265: an H.265 stream decoded, whole and in pieces, with and without threads.
. "$(dirname "$0")/lib.sh"
start() {
    export SAMPLE="$HERE/sample.h265"
    start_driver -lde265 <<'C'
#include <libde265/de265.h>
static void decode(const unsigned char *data, int size, int threads, int piece) {
    de265_decoder_context *context = de265_new_decoder();
    if (threads) de265_start_worker_threads(context, threads);
    int more = 1, pictures = 0; unsigned long all = 0;
    for (int at = 0; at < size; at += piece) de265_push_data(context, data + at, size - at < piece ? size - at : piece, at, NULL);
    de265_flush_data(context);
    while (more) {
        more = 0;
        de265_error error = de265_decode(context, &more);
        if (error != DE265_OK && error != DE265_ERROR_WAITING_FOR_INPUT_DATA) { printf(" error %d", error); break; }
        const struct de265_image *image = de265_get_next_picture(context);
        if (!image) continue;
        pictures++;
        for (int plane = 0; plane < 3; plane++) {
            int stride; const unsigned char *pixels = de265_get_image_plane(image, plane, &stride);
            for (int y = 0; y < de265_get_image_height(image, plane); y++)
                all = all * 31 + sum(pixels + y * stride, de265_get_image_width(image, plane));
        }
    }
    de265_error warning; int warnings = 0;
    while ((warning = de265_get_warning(context)) != DE265_OK) warnings++;
    printf(" %d pictures %lx", pictures, all);
    de265_free_decoder(context);
}
static void work(void) {
    static unsigned char data[65536];
    FILE *file = fopen(getenv("SAMPLE"), "r");
    int size = fread(data, 1, sizeof data, file);
    fclose(file);
    de265_init();
    printf("whole:"); decode(data, size, 0, size); printf("\npieces:"); decode(data, size, 0, 100); printf("\nthreads:"); decode(data, size, 2, size);
    printf("\n");
    de265_free();
}
C
}
probe() { ask "end of work"; }
run "$@"

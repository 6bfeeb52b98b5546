#!/bin/bash
# libpng: images of all types written to memory and read back by the simplified and by the full interface, with transformations.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lpng16 -lz <<'C'
#include <png.h>
static unsigned char store[1 << 20]; static size_t used, at;
static void put(png_structp png, png_bytep data, size_t size) { memcpy(store + used, data, size); used += size; }
static void flush(png_structp png) {}
static void get(png_structp png, png_bytep data, size_t size) {
    if (size > used - at) png_error(png, "end of data");
    memcpy(data, store + at, size); at += size;
}
static void quiet(png_structp png, png_const_charp text) { printf("warning %s\n", text); }
static void encode(int type, int depth, int interlace) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, quiet);
    png_infop info = png_create_info_struct(png);
    used = 0;
    if (setjmp(png_jmpbuf(png))) { printf("not written\n"); png_destroy_write_struct(&png, &info); return; }
    png_set_write_fn(png, NULL, put, flush);
    png_set_IHDR(png, info, 37, 21, depth, type, interlace, 0, 0);
    png_color colours[16];
    for (int i = 0; i < 16; i++) colours[i] = (png_color){i * 16, 255 - i, i};
    if (type == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, colours, depth == 1 ? 2 : 16);
        png_byte alpha[2] = {0, 128};
        png_set_tRNS(png, info, alpha, 2, NULL);
    }
    png_set_gAMA(png, info, 0.45455);
    png_text text = {.compression = PNG_TEXT_COMPRESSION_zTXt, .key = "Title", .text = "a text that is long enough to be compressed, compressed, compressed"};
    png_set_text(png, info, &text, 1);
    png_write_info(png, info);
    unsigned char row[37 * 8];
    for (int pass = interlace ? png_set_interlace_handling(png) : 1; pass > 0; pass--)
        for (int y = 0; y < 21; y++) {
            for (unsigned x = 0; x < sizeof row; x++) row[x] = depth == 8 || depth == 16 ? x * 3 + y * 5 : (x * 0x11 + y) & 0xff;
            png_write_row(png, row);
        }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}
static void decode(int how) {
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, quiet);
    png_infop info = png_create_info_struct(png);
    static unsigned char pixels[21][37 * 8]; png_bytep rows[21];
    at = 0; memset(pixels, 0, sizeof pixels);
    if (setjmp(png_jmpbuf(png))) { printf("not read\n"); png_destroy_read_struct(&png, &info, NULL); return; }
    png_set_read_fn(png, NULL, get);
    png_read_info(png, info);
    if (how & 1) png_set_expand(png);
    if (how & 2) png_set_strip_16(png);
    if (how & 4) png_set_gray_to_rgb(png);
    if (how & 8) png_set_filler(png, 0x7f, PNG_FILLER_AFTER);
    if (how & 16) { png_set_expand(png); png_set_rgb_to_gray_fixed(png, 1, -1, -1); }
    if (how & 32) { png_set_expand(png); png_set_strip_16(png); png_set_gray_to_rgb(png); png_set_quantize(png, (png_color[4]){{0}, {255}, {0, 255}, {0, 0, 255}}, 4, 4, NULL, 1); }
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    for (int y = 0; y < 21; y++) rows[y] = pixels[y];
    if (png_get_rowbytes(png, info) <= 37 * 8) { png_read_image(png, rows); png_read_end(png, NULL); }
    printf(" %d:%lx", how, sum(pixels, sizeof pixels));
    png_destroy_read_struct(&png, &info, NULL);
}
static void simple(int format) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, store, used)) { printf(" %s", image.message); return; }
    image.format = format;
    unsigned char map[4 * 256 * 2], *pixels = calloc(1, PNG_IMAGE_SIZE(image));
    size_t size = PNG_IMAGE_SIZE(image);
    memset(map, 0, sizeof map);
    png_color back = {10, 20, 30};
    if (png_image_finish_read(&image, &back, pixels, 0, map)) printf(" s%d:%lx:%lx", format, sum(pixels, size), sum(map, sizeof map));
    else printf(" s%d: %s", format, image.message);
    free(pixels); png_image_free(&image);
}
static void work(void) {
    static const int kinds[][2] = {{0, 1}, {0, 4}, {0, 8}, {0, 16}, {2, 8}, {2, 16}, {3, 1}, {3, 4}, {3, 8}, {4, 8}, {4, 16}, {6, 8}, {6, 16}};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int interlace = 0; interlace < 2; interlace++) {
            encode(kinds[k][0], kinds[k][1], interlace);
            printf("type %d depth %d: %zu %lx:", kinds[k][0], kinds[k][1], used, sum(store, used));
            for (int how = 0; how < 33; how = how < 16 ? how + 1 : how * 2) decode(how);
            static const int formats[] = {PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA, PNG_FORMAT_BGRA, PNG_FORMAT_LINEAR_Y,
                PNG_FORMAT_LINEAR_RGB_ALPHA, PNG_FORMAT_RGB_COLORMAP, PNG_FORMAT_RGBA_COLORMAP};
            for (unsigned f = 0; f < sizeof formats / sizeof *formats; f++) simple(formats[f]);
            printf("\n");
        }
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 16, .height = 16, .format = PNG_FORMAT_LINEAR_RGB_ALPHA};
    unsigned short linear[16 * 16 * 4];
    for (int i = 0; i < 1024; i++) linear[i] = i * 63;
    used = 0; png_alloc_size_t size = sizeof store;
    printf("simple write %d", png_image_write_to_memory(&image, store, &size, 1, linear, 0, NULL));
    printf(" %lu %lx\n", size, sum(store, size));
}
C
}
probe() { ask "end of work"; }
run "$@"

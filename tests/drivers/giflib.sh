#!/bin/bash
# giflib: animations with extensions encoded in memory, decoded again, slurped and spewed.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lgif <<'C'
#include <gif_lib.h>
static unsigned char store[1 << 20]; static size_t used, at;
static int put(GifFileType *gif, const GifByteType *data, int size) { memcpy(store + used, data, size); used += size; return size; }
static int get(GifFileType *gif, GifByteType *data, int size) {
    if ((size_t)size > used - at) size = used - at;
    memcpy(data, store + at, size); at += size; return size;
}
static void work(void) {
    for (int bits = 1; bits <= 8; bits += 3) {
        int error = 0; used = at = 0;
        GifFileType *gif = EGifOpen(NULL, put, &error);
        GifColorType colours[256];
        for (int i = 0; i < 256; i++) colours[i] = (GifColorType){i, 255 - i, i * 7};
        ColorMapObject *map = GifMakeMapObject(1 << bits, colours);
        gif->SWidth = 60; gif->SHeight = 40; gif->SColorResolution = 8; gif->SColorMap = map;
        for (int n = 0; n < 3; n++) {
            SavedImage *image = GifMakeSavedImage(gif, NULL);
            image->ImageDesc = (GifImageDesc){.Left = n, .Top = n, .Width = 50, .Height = 30, .Interlace = n == 1};
            image->RasterBits = malloc(1500);
            for (int i = 0; i < 1500; i++) image->RasterBits[i] = ((i * (n + 3)) ^ (i >> 3)) & ((1 << bits) - 1);
            GraphicsControlBlock block = {DISPOSE_DO_NOT, n == 2, 10 * n, n == 0 ? NO_TRANSPARENT_COLOR : 1};
            printf("block %d\n", EGifGCBToSavedExtension(&block, gif, n));
            GifAddExtensionBlock(&image->ExtensionBlockCount, &image->ExtensionBlocks, COMMENT_EXT_FUNC_CODE, 5, (unsigned char *)"hello");
        }
        SavedImage from = gif->SavedImages[1], *copy = GifMakeSavedImage(gif, &from);
        printf("copied %d\n", copy != NULL && copy->ExtensionBlockCount == from.ExtensionBlockCount);
        printf("spewed %d\n", EGifSpew(gif));
        printf("%zu bytes, %lx\n", used, sum(store, used));
        GifFileType *back = DGifOpen(NULL, get, &error);
        printf("slurped %d\n", DGifSlurp(back));
        for (int n = 0; n < back->ImageCount; n++) {
            GraphicsControlBlock block;
            SavedImage *image = &back->SavedImages[n];
            int has = DGifSavedExtensionToGCB(back, n, &block);
            printf("%d: %dx%d %lx, %d extensions, delay %d of %d\n", n, image->ImageDesc.Width, image->ImageDesc.Height,
                sum(image->RasterBits, 1500), image->ExtensionBlockCount, has ? block.DelayTime : -1, has);
        }
        DGifCloseFile(back, &error);
        ColorMapObject *both = GifUnionColorMap(map, map, (GifPixelType[256]){0});
        printf("union %d\n", both ? both->ColorCount : -1);
        if (both) GifFreeMapObject(both);
    }
}
C
}
probe() { ask "end of work"; }
run "$@"

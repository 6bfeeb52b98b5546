#!/bin/bash
# FreeType: glyphs of whatever TrueType fonts the machine has, loaded and drawn in several sizes and modes.
. "$(dirname "$0")/lib.sh"
start() {
    find /usr/share/fonts -name '*.ttf' | sort | head -n 4 > "$DIR/fonts"
    [ -s "$DIR/fonts" ] || broken "no TrueType font below /usr/share/fonts"
    INCLUDES="-I$ROOT/usr/include/freetype2"
    export FONTS="$DIR/fonts"
    start_driver -lfreetype <<'C'
#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_OUTLINE_H
static void font(FT_Library library, const char *path) {
    FT_Face face;
    int error = FT_New_Face(library, path, 0, &face);
    printf("%s: %d\n", strrchr(path, '/') + 1, error);
    if (error) return;
    printf("%ld glyphs, %s %s, %d units\n", face->num_glyphs, face->family_name, face->style_name, face->units_per_EM);
    for (int size = 9; size <= 40; size += 15) {
        FT_Set_Pixel_Sizes(face, 0, size);
        unsigned long all = 0; int failed = 0;
        for (unsigned glyph = 0; glyph < 300 && glyph < face->num_glyphs; glyph++) {
            for (int mode = 0; mode < 3; mode++) {
                int flags = mode == 0 ? FT_LOAD_RENDER : mode == 1 ? FT_LOAD_NO_HINTING | FT_LOAD_RENDER : FT_LOAD_FORCE_AUTOHINT;
                if (FT_Load_Glyph(face, glyph, flags)) { failed++; continue; }
                FT_Bitmap *map = &face->glyph->bitmap;
                all = all * 31 + face->glyph->advance.x + face->glyph->metrics.horiBearingY;
                if (mode < 2 && map->buffer) all ^= sum(map->buffer, map->rows * (size_t)abs(map->pitch));
            }
        }
        printf("size %d: %lx, %d failed\n", size, all, failed);
    }
    FT_Done_Face(face);
}
static void work(void) {
    FT_Library library;
    char path[512];
    if (FT_Init_FreeType(&library)) { printf("no library\n"); return; }
    FILE *list = fopen(getenv("FONTS"), "r");
    while (fgets(path, sizeof path, list)) { path[strcspn(path, "\n")] = 0; font(library, path); }
    fclose(list);
    FT_Done_FreeType(library);
}
C
}
probe() { ask "end of work"; }
run "$@"

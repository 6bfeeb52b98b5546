#!/bin/bash
# cJSON: texts parsed, printed, compared, changed, pointers and patches made.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lcjson_utils -lcjson -lm <<'C'
#include <cjson/cJSON.h>
#include <cjson/cJSON_Utils.h>
static void show(const char *what, char *text) { printf("%s %s\n", what, text ? text : "(nothing)"); free(text); }
static void work(void) {
    const char *texts[] = {"{\"a\":[1,2.5,-3e10,true,false,null],\"b\":{\"c\":\"\\u00e9\\ud83d\\ude00\\n\"}}",
        "[1,2,3", "{\"x\":}", "\"\\ud800\"", "[]", "-", "1e400", "{\"k\":\"v\",\"k2\":[[[]]]}",
        "0.1234567890123456789012345678901234567890123456789012345678901234567890"};
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
        cJSON *json = cJSON_Parse(texts[i]);
        if (!json) { printf("%u does not parse\n", i); continue; }
        show("plain", cJSON_PrintUnformatted(json));
        show("pretty", cJSON_Print(json));
        cJSON_Delete(json);
    }
    cJSON *one = cJSON_Parse("{\"list\":[1,2,3],\"s\":\"t\",\"o\":{\"p\":1}}"), *two = cJSON_Duplicate(one, 1);
    printf("same %d\n", cJSON_Compare(one, two, 1));
    cJSON *list = cJSON_GetObjectItem(two, "list");
    for (int i = 0; i < 5; i++) cJSON_InsertItemInArray(list, i, cJSON_CreateNumber(i * 10));
    cJSON_SetValuestring(cJSON_GetObjectItem(two, "s"), "a longer text than before");
    cJSON_SetNumberValue(cJSON_GetArrayItem(list, 1), 99);
    cJSON_AddItemToObject(two, "new", cJSON_CreateString("n"));
    cJSON_DeleteItemFromObject(two, "o");
    printf("same %d\n", cJSON_Compare(one, two, 1));
    cJSON *patches = cJSONUtils_GeneratePatches(one, two);
    show("patches", cJSON_PrintUnformatted(patches));
    printf("applied %d\n", cJSONUtils_ApplyPatches(one, patches));
    show("now", cJSON_PrintUnformatted(one));
    cJSON *at = cJSONUtils_GetPointer(one, "/list/2");
    printf("pointer %g\n", at ? at->valuedouble : -1);
    at = cJSONUtils_GetPointer(one, "/list/77");
    printf("pointer %d\n", at != NULL);
    cJSON *merge = cJSONUtils_GenerateMergePatch(two, one);
    show("merge", merge ? cJSON_PrintUnformatted(merge) : NULL);
    cJSON_Delete(merge); cJSON_Delete(patches); cJSON_Delete(one); cJSON_Delete(two);
}
C
}
probe() { ask "end of work"; }
run "$@"

#!/bin/bash
# libunbound, the resolver as a library: names, addresses and classes answered from local data, in the process and by a thread.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lunbound <<'C'
#include <unbound.h>
static int waiting;
static void show(const char *name, int type, int error, struct ub_result *result) {
    printf("%s %d: %s", name, type, ub_strerror(error));
    if (!error && result) {
        int count = 0; unsigned long all = 0;
        // The order of answers rotates.
        for (; result->data && result->data[count]; count++) all += sum(result->data[count], result->len[count]);
        printf(" rcode %d, data %d, none %d, secure %d, %d answers %lx, canonical %s", result->rcode, result->havedata, result->nxdomain,
            result->secure, count, all, result->canonname ? result->canonname : "-");
    }
    printf("\n");
    if (!error) ub_resolve_free(result);
}
static void came(void *name, int error, struct ub_result *result) { waiting--; show(name, 0, error, result); }
static void work(void) {
    static const char *data[] = {"example.test. 300 IN MX 10 mail.example.test.", "www.example.test. 300 IN A 192.0.2.1",
        "www.example.test. 300 IN A 192.0.2.2", "text.example.test. 300 IN TXT 'some text'", "bad data here", "2.0.192.in-addr.arpa. IN NS x."};
    static const char *zones[][2] = {{"example.test.", "static"}, {"blocked.test.", "always_nxdomain"}, {"refused.test.", "refuse"}, {"a.b.", "nosuch"}};
    struct ub_ctx *context = ub_ctx_create();
    char *value = NULL;
    printf("%s\n", ub_strerror(ub_ctx_set_option(context, "module-config:", "iterator")));
    printf("%s\n", ub_strerror(ub_ctx_set_option(context, "no-such-option:", "1")));
    printf("%s\n", ub_strerror(ub_ctx_get_option(context, "module-config", &value)));
    printf("%s\n", value ? value : "(none)"); free(value);
    printf("fwd %s\n", ub_strerror(ub_ctx_set_fwd(context, "127.0.0.1@1")));
    printf("fwd %s\n", ub_strerror(ub_ctx_set_fwd(context, "127.0.0.2@1")));
    printf("bad fwd %s\n", ub_strerror(ub_ctx_set_fwd(context, "not an address")));
    printf("stub %s\n", ub_strerror(ub_ctx_set_stub(context, "stub.test", "127.0.0.1@1", 0)));
    for (int i = 0; i < 4; i++) printf("zone %s\n", ub_strerror(ub_ctx_zone_add(context, zones[i][0], zones[i][1])));
    for (int i = 0; i < 6; i++) printf("data %s\n", ub_strerror(ub_ctx_data_add(context, data[i])));
    ub_ctx_async(context, 1);
    static const struct { const char *name; int type; } asks[] = {{"www.example.test", 1}, {"www.example.test", 28}, {"example.test", 15},
        {"text.example.test", 16}, {"none.example.test", 1}, {"x.blocked.test", 1}, {"x.refused.test", 1}, {"localhost", 1}, {"1.0.0.127.in-addr.arpa", 12}};
    for (int i = 0; i < 9; i++) {
        struct ub_result *result = NULL;
        int error = ub_resolve(context, asks[i].name, asks[i].type, 1, &result);
        show(asks[i].name, asks[i].type, error, result);
    }
    int id; waiting = 1;
    printf("async %s\n", ub_strerror(ub_resolve_async(context, "www.example.test", 1, 1, "later", came, &id)));
    while (waiting && !ub_wait(context));
    printf("removed %s\n", ub_strerror(ub_ctx_data_remove(context, "www.example.test.")));
    printf("removed %s\n", ub_strerror(ub_ctx_zone_remove(context, "blocked.test.")));
    struct ub_result *result = NULL;
    int error = ub_resolve(context, "www.example.test", 1, 1, &result);
    show("www.example.test", 1, error, result);
    ub_ctx_delete(context);
}
C
}
probe() { ask "end of work"; }
run "$@"

#!/bin/bash
# libssh: a server and a client of one process talk through a socket pair: keys, key exchange, password, a channel that echoes.
. "$(dirname "$0")/lib.sh"
start() {
start_driver -lssh -lpthread <<'C'
#include <libssh/libssh.h>
#include <libssh/server.h>
#include <libssh/callbacks.h>
#include <pthread.h>
#include <sys/socket.h>
static ssh_key host;
static void *serve(void *arg) {
    int fd = *(int *)arg;
    ssh_bind bind = ssh_bind_new();
    ssh_session session = ssh_new();
    char *text = NULL;
    ssh_key copy = ssh_key_dup(host);
    ssh_bind_options_set(bind, SSH_BIND_OPTIONS_IMPORT_KEY, copy);
    if (ssh_bind_accept_fd(bind, session, fd) != SSH_OK || ssh_handle_key_exchange(session) != SSH_OK) {
        printf("server: %s\n", ssh_get_error(session)); return NULL;
    }
    ssh_message message; ssh_channel channel = NULL; int shell = 0;
    while (!shell && (message = ssh_message_get(session))) {
        int type = ssh_message_type(message), sub = ssh_message_subtype(message);
        if (type == SSH_REQUEST_AUTH && sub == SSH_AUTH_METHOD_PASSWORD) {
            if (!strcmp(ssh_message_auth_password(message), "right")) ssh_message_auth_reply_success(message, 0);
            else { ssh_message_auth_set_methods(message, SSH_AUTH_METHOD_PASSWORD); ssh_message_reply_default(message); }
        } else if (type == SSH_REQUEST_AUTH) {
            ssh_message_auth_set_methods(message, SSH_AUTH_METHOD_PASSWORD); ssh_message_reply_default(message);
        } else if (type == SSH_REQUEST_CHANNEL_OPEN && sub == SSH_CHANNEL_SESSION) channel = ssh_message_channel_request_open_reply_accept(message);
        else if (type == SSH_REQUEST_CHANNEL && sub == SSH_CHANNEL_REQUEST_EXEC) { shell = 1; ssh_message_channel_request_reply_success(message); }
        else ssh_message_reply_default(message);
        ssh_message_free(message);
    }
    char data[4096]; int count;
    while (channel && (count = ssh_channel_read(channel, data, sizeof data, 0)) > 0) ssh_channel_write(channel, data, count);
    if (channel) { ssh_channel_send_eof(channel); ssh_channel_request_send_exit_status(channel, 7); ssh_channel_close(channel); }
    ssh_disconnect(session); ssh_free(session); ssh_bind_free(bind);
    return NULL;
}
static void talk(const char *ciphers, const char *exchange) {
    int fds[2]; pthread_t thread;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    pthread_create(&thread, NULL, serve, &fds[1]);
    ssh_session session = ssh_new();
    int none = 0;
    ssh_options_set(session, SSH_OPTIONS_HOST, "localhost");
    ssh_options_set(session, SSH_OPTIONS_USER, "someone");
    ssh_options_set(session, SSH_OPTIONS_FD, &fds[0]);
    ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &none);
    ssh_options_set(session, SSH_OPTIONS_CIPHERS_C_S, ciphers);
    ssh_options_set(session, SSH_OPTIONS_KEY_EXCHANGE, exchange);
    printf("%s %s: connect %d", ciphers, exchange, ssh_connect(session));
    printf(" kex %s in %s", ssh_get_kex_algo(session), ssh_get_cipher_in(session));
    printf(" none %d", ssh_userauth_none(session, NULL));
    printf(" wrong %d", ssh_userauth_password(session, NULL, "wrong"));
    printf(" right %d", ssh_userauth_password(session, NULL, "right"));
    ssh_channel channel = ssh_channel_new(session);
    printf(" open %d", ssh_channel_open_session(channel));
    printf(" exec %d", ssh_channel_request_exec(channel, "echo"));
    char data[30000], back[30000]; size_t got = 0; int count;
    for (size_t i = 0; i < sizeof data; i++) data[i] = i * 31;
    printf(" wrote %d", ssh_channel_write(channel, data, sizeof data));
    while (got < sizeof back && (count = ssh_channel_read(channel, back + got, sizeof back - got, 0)) > 0) got += count;
    ssh_channel_send_eof(channel);
    while (ssh_channel_read(channel, data, 1, 0) > 0) {}
    for (size_t i = 0; i < sizeof data; i++) data[i] = i * 31;
    printf(" echoed %zu same %d status %d\n", got, !memcmp(data, back, sizeof data), ssh_channel_get_exit_status(channel));
    ssh_channel_close(channel); ssh_channel_free(channel); ssh_disconnect(session); ssh_free(session);
    pthread_join(thread, NULL);
}
static void work(void) {
    ssh_init();
    if (!host) ssh_pki_generate(SSH_KEYTYPE_ED25519, 0, &host);
    unsigned char *hash; size_t size; char *text = NULL;
    ssh_key public; ssh_pki_export_privkey_to_pubkey(host, &public);
    ssh_get_publickey_hash(public, SSH_PUBLICKEY_HASH_SHA256, &hash, &size);
    text = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, size);
    printf("hash of %zu bytes, fingerprint %zu, %s\n", size, text ? strlen(text) : 0, ssh_key_type_to_char(ssh_key_type(public)));
    ssh_string_free_char(text); ssh_clean_pubkey_hash(&hash);
    if (ssh_pki_export_privkey_base64(host, NULL, NULL, NULL, &text) == SSH_OK) {
        ssh_key again; printf("import %d", ssh_pki_import_privkey_base64(text, NULL, NULL, NULL, &again));
        printf(" same %d\n", !ssh_key_cmp(host, again, SSH_KEY_CMP_PRIVATE)); ssh_key_free(again); ssh_string_free_char(text);
    }
    ssh_key_free(public);
    talk("aes256-ctr", "curve25519-sha256"); talk("chacha20-poly1305@openssh.com", "ecdh-sha2-nistp256"); talk("aes128-gcm@openssh.com", "diffie-hellman-group14-sha256");
}
C
}
probe() { ask "end of work"; }
run "$@"

#!/bin/bash
# openssh: a server, an agent and a client that keeps its connections: key exchanges, logins with keys and certificates, refused ones,
# commands, files, forwarding. The server has accounts of its own, in a mount namespace; it does not start itself anew for a connection,
# so that what serves one is a copy of the process that is patched.
. "$(dirname "$0")/lib.sh"
unset SSH_AUTH_SOCK DISPLAY SSH_ASKPASS
start() {
    port=$(freeport); echo "$port" > "$DIR/port"
    mkdir -p "$DIR/home"
    for type in ed25519 ecdsa rsa; do "$ROOT/usr/bin/ssh-keygen" -q -t $type -N '' -C "host $type" -f "$DIR/host_$type"; done
    for name in user other stranger authority; do "$ROOT/usr/bin/ssh-keygen" -q -t ed25519 -N '' -C $name -f "$DIR/$name"; done
    "$ROOT/usr/bin/ssh-keygen" -q -t ecdsa -b 384 -N '' -C curve -f "$DIR/curve"
    "$ROOT/usr/bin/ssh-keygen" -q -t rsa -b 2048 -N '' -C rsa -f "$DIR/rsa"
    "$ROOT/usr/bin/ssh-keygen" -q -t ed25519 -N secret -C locked -f "$DIR/locked"
    for name in alice bob carol; do
        "$ROOT/usr/bin/ssh-keygen" -q -t ed25519 -N '' -C $name -f "$DIR/$name"
        "$ROOT/usr/bin/ssh-keygen" -q -s "$DIR/authority" -I "$name" -n "$name,x$name" "$DIR/$name.pub"
    done
    { cat "$DIR"/user.pub "$DIR"/curve.pub "$DIR"/rsa.pub "$DIR"/locked.pub
      echo "restrict,command=\"echo forced: \$SSH_ORIGINAL_COMMAND\" $(cat "$DIR/other.pub")"
      echo "cert-authority,principals=\"alice,bob\" $(cat "$DIR/authority.pub")"; } > "$DIR/authorized_keys"
    cat > "$DIR/sshd_config" <<C
Port $port
ListenAddress 127.0.0.1
HostKey $DIR/host_ed25519
HostKey $DIR/host_ecdsa
HostKey $DIR/host_rsa
AuthorizedKeysFile /run/authorized_keys
PidFile none
StrictModes no
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UseDNS no
MaxStartups 100
AcceptEnv WORD
Subsystem sftp $ROOT/usr/libexec/sftp-server
Match User nobody
    Banner $DIR/banner
    AuthenticationMethods publickey,password
C
    echo "Welcome" > "$DIR/banner"
    cat > "$DIR/ssh_config" <<C
Host *
    HostName 127.0.0.1
    Port $port
    User root
    IdentitiesOnly yes
    UserKnownHostsFile $DIR/known_hosts
    GlobalKnownHostsFile none
    HostKeyAlias server
    StrictHostKeyChecking yes
    BatchMode yes
    ConnectTimeout 20
    LogLevel ERROR
    ControlPath $DIR/%r.ctl
    ControlMaster no
    SendEnv WORD
C
    sed 's/^/server /' "$DIR"/host_*.pub > "$DIR/known_hosts"
    printf '%s\n' 'root:x:0:0:root:'"$DIR"'/home:/bin/sh' 'sshd:x:4241:65534::/run/sshd:/bin/false' 'tester:x:4242:4242::/:/bin/sh' \
        'nobody:x:65534:65534::/:/bin/sh' > "$DIR/passwd"
    printf '%s\n' 'root:*:1::::::' 'sshd:*:1::::::' 'tester:*:1::::::' 'nobody:*:1::::::' > "$DIR/shadow"
    unshare -m --propagation private sh -c '
        mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/shadow" /etc/shadow && mount -t tmpfs run /run && mkdir -m 755 /run/sshd &&
        cp "$1/authorized_keys" /run && chmod 644 /run/authorized_keys &&
        exec "$2/usr/sbin/sshd" -D -r -f "$1/sshd_config" -E "$1/sshd.log"' sh "$DIR" "$ROOT" >"$DIR/out" 2>&1 </dev/null &
    echo $! > "$DIR/pid"
    waitport "$port" || broken "nothing listens: $(tail -n 3 "$DIR/out" "$DIR/sshd.log")"
    "$ROOT/usr/bin/ssh-agent" -D -a "$DIR/agent" >"$DIR/agent.log" 2>&1 </dev/null &
    echo $! > "$DIR/pid2"
    for user in root tester; do
        "$ROOT/usr/bin/ssh" -F "$DIR/ssh_config" -i "$DIR/user" -M -N -l "$user" server >"$DIR/$user.log" 2>&1 </dev/null &
        echo $! > "$DIR/$user.pid"
        for _ in $(seq 200); do [ -S "$DIR/$user.ctl" ] && break; sleep 0.1; done
        [ -S "$DIR/$user.ctl" ] || { stop; broken "no connection that is kept: $(tail -n 3 "$DIR/$user.log" "$DIR/sshd.log")"; }
    done
}
# A name for what is done, what it prints, and how it ends; paths and numbers of this run left out.
try() { echo "- $1"; shift; timeout 60 "$@" 2>&1 </dev/null | sed "s,$DIR,DIR,g; s,$ROOT,ROOT,g; s,\b$port\b,PORT,g; s,\r,,g"; echo "  -> ${PIPESTATUS[0]}"; }
ssh() { try "$1" "$ROOT/usr/bin/ssh" -F "$DIR/ssh_config" "${@:2}"; }
python() { try "$1" python3 -c "$(cat)" "${@:2}"; }
# A connection of its own, without a client's connection that is kept.
new() { ssh "$1" -S none -i "$DIR/${KEY-user}" "${@:2}"; }
probe() {
    port=$(cat "$DIR/port"); export SSH_AUTH_SOCK=$DIR/agent
    # What the server offers, and what it says to odd beginnings.
    python "first packet" "$port" <<'P'
import socket, struct, sys
def talk(sent):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20); s.settimeout(20)
    s.sendall(sent); got = b""
    try:
        while data := s.recv(65536): got += data
    except OSError: pass
    s.close()
    return got
def packet(payload):
    fill = 8 - (len(payload) + 5) % 8; fill += 8 if fill < 4 else 0
    return struct.pack(">IB", len(payload) + fill + 1, fill) + payload + b"\0" * fill
def show(got):
    line, _, rest = got.partition(b"\r\n"); print(line.decode())
    if rest[:1] != b"\0": print("   ", rest.decode(errors="replace").strip()); return
    while len(rest) > 5:
        size, fill = struct.unpack(">IB", rest[:5]); payload = rest[5:4 + size - fill]; rest = rest[4 + size:]
        if payload[0] == 20:
            at = 17
            for _ in range(10):
                length, = struct.unpack(">I", payload[at:at + 4]); print("   ", payload[at + 4:at + 4 + length].decode()); at += 4 + length
        else: print("  packet", payload[0], payload[1:].hex() if payload[0] != 1 else payload[9:-4].decode(errors="replace"))
show(talk(b"SSH-2.0-probe\r\n" + packet(b"\1" + struct.pack(">II", 11, 0) + struct.pack(">I", 0))))
show(talk(b"SSH-2.0-probe\r\n" + packet(bytes([90]) + b"x")))
show(talk(b"SSH-1.5-probe\r\n"))
show(talk(b"no protocol\r\n"))
P
    for kex in curve25519-sha256 ecdh-sha2-nistp384 diffie-hellman-group14-sha256 sntrup761x25519-sha512@openssh.com; do
        new "exchange $kex" -o KexAlgorithms=$kex server 'echo $((6 * 7)); echo to stderr >&2; exit 3'
    done
    for cipher in aes128-ctr aes256-gcm@openssh.com chacha20-poly1305@openssh.com; do
        new "cipher $cipher" -c $cipher -m hmac-sha2-256-etm@openssh.com server 'seq 20000 | cksum'
    done
    echo "- compressed, new keys on the way"
    timeout 60 "$ROOT/usr/bin/ssh" -F "$DIR/ssh_config" -S none -i "$DIR/user" -C -o RekeyLimit=100K server 'seq 100000' 2>&1 </dev/null | cksum
    new "no cipher in common" -c 3des-cbc server true
    for type in ssh-ed25519 ecdsa-sha2-nistp256 rsa-sha2-512; do new "host key $type" -o HostKeyAlgorithms=$type server 'echo "$0"'; done
    new "unknown host" -o UserKnownHostsFile=none server true
    for name in curve rsa other stranger alice bob carol; do KEY=$name new "key $name" server 'echo in'; done
    new "another account" -l tester server 'id -u; pwd; test -w /etc && echo writable'
    new "no such account" -l nosuch server true
    new "two methods" -l nobody -o LogLevel=INFO server true
    WORD=handed new "environment and a terminal" -tt server 'echo $WORD; stty size; test -t 0 && echo terminal'
    for user in root tester; do
        ssh "kept connection of $user" -l $user -O check server | sed 's/pid=[0-9]*/pid/'
        ssh "command over it" -l $user server 'id -u; seq 3000 | cksum; exit 9'
        ssh "terminal over it" -tt -l $user server 'echo here'
        ssh "forwarding asked" -l $user -O forward -L "$DIR/forward.$user:127.0.0.1:$port" server
        python "forwarded" "$DIR/forward.$user" <<'P'
import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1]); print(s.recv(100).decode().strip())
P
        ssh "forwarding ended" -l $user -O cancel -L "$DIR/forward.$user:127.0.0.1:$port" server; rm -f "$DIR/forward.$user"
    done
    seq 5000 > "$DIR/file"; rm -f "$DIR"/copy*
    printf '%s\n' "put $DIR/file $DIR/copy1" "chmod 600 $DIR/copy1" "-ls -n $DIR/nosuch" "get $DIR/copy1 $DIR/copy2" "rm $DIR/copy1" > "$DIR/sftp.batch"
    try "sftp" "$ROOT/usr/bin/sftp" -q -F "$DIR/ssh_config" -S "$ROOT/usr/bin/ssh" -i "$DIR/user" -o ControlPath=none -b "$DIR/sftp.batch" server
    try "scp" "$ROOT/usr/bin/scp" -q -F "$DIR/ssh_config" -S "$ROOT/usr/bin/ssh" -i "$DIR/user" -o ControlPath=none -p "$DIR/file" "server:$DIR/copy3"
    (cd "$DIR" && cksum file copy2 copy3)
    # The agent.
    local add="$ROOT/usr/bin/ssh-add"
    names() { try "$1" "$add" -L | sed 's/ AAAA[^ ]*//'; }
    try "agent is empty" "$add" -D
    names "nothing"
    try "keys for it" "$add" "$DIR/user" "$DIR/curve" "$DIR/rsa"
    try "a certificate" "$add" -t 1000 "$DIR/alice"
    try "bound to a host" "$add" -H "$DIR/known_hosts" -h server "$DIR/other"
    names "keys"
    for name in user curve rsa alice; do
        try "signed by $name" "$add" -T "$DIR/$name.pub"
        KEY=$name.pub new "login by agent with $name" -l tester server 'echo in'
    done
    KEY=user.pub new "agent handed on" -A server "test -n \"\$SSH_AUTH_SOCK\" && $add -l | wc -l; $add -s $DIR/nosuch.so 2>&1 | head -1"
    KEY=other.pub new "bound key" server 'asked for'
    try "library that is none" "$add" -s "$DIR/file"
    try "one key goes" "$add" -d "$DIR/rsa"
    names "the others"
    python "unknown extension, locked and unlocked" "$DIR/agent" <<'P'
import socket, struct, sys
def ask(message):
    s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1]); s.sendall(struct.pack(">I", len(message)) + message)
    size, = struct.unpack(">I", s.recv(4)); return s.recv(size)
def text(data): return struct.pack(">I", len(data)) + data
print(ask(b"\x1b" + text(b"nosuch@example.org")).hex(), ask(b"\x16" + text(b"word")).hex(), ask(b"\x0b").hex(), ask(b"\x17" + text(b"wrong")).hex(),
    ask(b"\x17" + text(b"word")).hex(), ask(b"\x0b")[:5].hex(), ask(b"\x63").hex())
P
    try "empty again" "$add" -D
    for file in "$DIR"/pid2 "$DIR"/root.pid "$DIR"/tester.pid; do kill -0 "$(cat "$file")" 2>/dev/null || broken "$(basename "$file") has ended"; done
}
stop() {
    for file in "$DIR"/root.pid "$DIR"/tester.pid "$DIR"/pid2 "$DIR"/pid; do [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null; done
    return 0
}
run "$@"

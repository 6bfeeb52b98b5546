#!/bin/bash
# unbound: a resolver that answers from local data and from a forwarder that is not there.
. "$(dirname "$0")/lib.sh"
start() {
    port=$(freeport); echo "$port" > "$DIR/port"
    cat > "$DIR/conf" <<C
server:
  directory: "$DIR"
  chroot: ""
  username: ""
  pidfile: "$DIR/own.pid"
  do-daemonize: no
  use-syslog: no
  interface: 127.0.0.1@$port
  do-ip6: no
  num-threads: 2
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
  local-zone: "example.test." static
  local-data: "www.example.test. 300 IN A 192.0.2.1"
  local-data: "www.example.test. 300 IN A 192.0.2.2"
  local-data: "example.test. 300 IN MX 10 mail.example.test."
  local-data: "text.example.test. 300 IN TXT 'some text'"
  local-data-ptr: "192.0.2.1 www.example.test"
  local-zone: "blocked.test." always_nxdomain
  local-zone: "refused.test." refuse
C
    LD_LIBRARY_PATH="$ROOT/usr/lib64" "$ROOT/usr/sbin/unbound" -d -c "$DIR/conf" >"$DIR/out" 2>"$DIR/err" &
    echo $! > "$DIR/pid"
    waitport "$port" || broken "nothing listens"
}
probe() {
    python3 - "$(cat "$DIR/port")" <<'P' || broken "no answer"
import socket, struct, sys
server = ('127.0.0.1', int(sys.argv[1]))
def query(name, kind, tcp=False, bits=0x0100, extra=b'', count=0):
    body = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.') if l) + b'\0' + struct.pack('!HH', kind, 1)
    message = struct.pack('!HHHHHH', 77, bits, 1, 0, 0, count) + body + extra
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(10); s.connect(server)
        if tcp:
            s.sendall(struct.pack('!H', len(message)) + message)
            size = struct.unpack('!H', s.recv(2))[0]; answer = b''
            while len(answer) < size: answer += s.recv(size)
        else:
            s.send(message); answer = s.recv(4096)
    flags, questions, answers, authority, more = struct.unpack('!HHHHH', answer[2:12])
    # Local data rotates: the set of answers counts, not their order.
    print(name, kind, tcp, hex(flags), answers, authority, more, len(answer), sorted(answer[12:]).__repr__()[-60:])
edns = b'\0' + struct.pack('!HHIH', 41, 1232, 0x8000, 0)
for tcp in (False, True):
    for name, kind in (('www.example.test', 1), ('example.test', 15), ('text.example.test', 16), ('none.example.test', 1), ('www.example.test', 28),
                       ('1.2.0.192.in-addr.arpa', 12), ('x.blocked.test', 1), ('x.refused.test', 1), ('localhost', 1), ('version.bind', 16)):
        query(name, kind, tcp); query(name, kind, tcp, extra=edns, count=1)
P
}
run "$@"

#!/bin/bash
# less: in a terminal, told to move, search, filter and open another file; what is on the screen is the transcript.
. "$(dirname "$0")/lib.sh"
start() {
    { seq 1 400 | sed 's/$/ line of text/'; printf 'bold b\bbo\bol\bld and \033[31mred\033[0m and a tab\there\n'; printf '\033]8;;http://example.org\033\\link\033]8;;\033\\\n'; } > "$DIR/one"
    printf '%s\n' alpha beta gamma > "$DIR/two"
    cp "$HERE/terminal.py" "$DIR/terminal.py"
    rm -f "$DIR/keys"; mkfifo "$DIR/keys"
    python3 "$DIR/terminal.py" "$DIR" "$ROOT/usr/bin/less" -R "$DIR/one" "$DIR/two" <>"$DIR/keys" >"$DIR/log" 2>&1 &
    echo $! > "$DIR/pid2"
    for _ in $(seq 100); do [ -s "$DIR/pid" ] && break; sleep 0.1; done
    # Once through all, so that what it paints from now on does not depend on what was there before.
    [ -s "$DIR/pid" ] && probe >/dev/null && return 0
    broken "less does not start"
}
press() {
    n=$(stat -c %s "$DIR/screen"); printf '%b' "$1" > "$DIR/keys"
    # Done when nothing has come for a while.
    for _ in $(seq 100); do sleep 0.25; m=$(stat -c %s "$DIR/screen"); [ "$m" -gt "$n" ] && [ "$m" = "${last:-0}" ] && break; last=$m; done
    echo "keys $1:"; tail -c +$((n + 1)) "$DIR/screen" | sed "s,$DIR,DIR,g" | cat -v; echo
    alive || broken "less has ended"
}
probe() {
    press 'g'; press 'G'; press '/100 line\n'; press '?^5 line\n'; press '&^.*7\n'; press '&\n'; press ':n'; press ':p'; press 'g'; press '='
}
run "$@"

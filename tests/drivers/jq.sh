#!/bin/bash
# jq: one that reads a stream of documents and puts each through a wide filter.
. "$(dirname "$0")/lib.sh"
start() {
    cat > "$DIR/f.jq" <<'Q'
def each(f): try f catch "error: \(.)";
[each(keys), each(map(.+1)), each(to_entries), each(tojson|fromjson), each(tostream), each([paths]), each(.a.b), each(.[2:4]),
 each(sort), each(sort_by(.x)), each(group_by(.x)), each(unique), each(min,max), each(add), each(length), each(reverse),
 each(setpath(["p",0];1)), each(del(.a)), each(delpaths([["a"]])), each(getpath(["a","b"])), each(path(..)), each(contains({a:1})), each(indices(1)),
 each(flatten), each(tostring|test("[0-9]+")), each(tostring|ascii_upcase), each(tostring|@base64,@uri,@html,@csv), each(tostring|@base64|@base64d),
 each(tojson|explode|implode), each(splits(",")), each(. as [$a,$b] | $a), each(. as {a:$x} | $x), each(limit(3;range(10))), each(first(.[])),
 each(reduce .[] as $x (0; .+1)), each([foreach .[] as $x (0; .+1)]), each(walk(.)), each(env|type), each(now|type), each(0|todate), each(1e3|gmtime|mktime),
 each("2015-03-05T23:51:47Z"|strptime("%Y-%m-%dT%H:%M:%SZ")), each(tojson|ltrimstr("{")|rtrimstr("}")), each(tojson|split(",")|join(";")),
 each(.. |= .), each(with_entries(.value |= tostring)), each(input_line_number|type), each([.[]?]|@sh), each(@json), each(@text), each(tojson * 2), each({a:1} * .),
 each(splits("a";"g")), each([limit(5;repeat(1))]), each(ltrimstr(1)), each(infinite,nan|tostring), each([1,[2]]|getpath([1,0])), each(error("e")), each(tojson|.[1:3]), each($__loc__)], "end of work"
Q
    serve "$ROOT/usr/bin/jq" --unbuffered -c -f "$DIR/f.jq"
}
probe() {
    for text in '{"a":{"b":[1,2,{"c":null}]},"x":"text"}' '[3,1,2,1,[5,[6]],{"x":1},{"x":0}]' '"a string, with \u00e9 and \ud83d\ude00"' '12345.678' 'null' \
        '{"long":"0123456789012345678901234567890123456789012345678901234567890123456789","k1":1,"k2":2,"k3":3,"k4":4,"k5":5,"k6":6,"k7":7,"k8":8,"k9":9}'; do
        ask '"end of work"' "$text"
    done
}
run "$@"

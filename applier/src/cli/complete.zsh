
_upatch_ids() {
    local -a names
    names=(${(f)"$(upatch complete ids 2> /dev/null)"})
    compadd -a names
    _files
}

_upatch_pids() {
    local -a processes
    processes=(${(f)"$(upatch complete pids 2> /dev/null)"})
    compadd -a processes
}


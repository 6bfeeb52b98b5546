# Names of patches and of processes are asked of upatch itself.
_upatch_with_names() {
    local word verb="" skip="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $skip ]]; then
            skip=""
        elif [[ $word == --root || $word == --pid || $word == --timeout ]]; then
            skip=1
        elif [[ $word != -* ]]; then
            verb=$word
            break
        fi
    done
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    if [[ $before == --pid || ( $verb == gdb && $cur != -* ) ]]; then
        COMPREPLY=($(compgen -W "$(upatch complete pids 2> /dev/null)" -- "$cur"))
        return
    fi
    _upatch "$@"
    case $verb in
        @VERBS@)
            if [[ $cur != -* && -z $skip ]]; then
                COMPREPLY=($(compgen -W "$(upatch complete ids 2> /dev/null)" -- "$cur"))
            fi
            ;;
    esac
}



complete -c upatch -n "__fish_upatch_using_subcommand @VERBS@" -a "(upatch complete ids 2> /dev/null)"
complete -c upatch -n "__fish_upatch_using_subcommand gdb" -f -a "(upatch complete pids 2> /dev/null)"
complete -c upatch -n "not __fish_upatch_needs_command" -l pid -x -a "(upatch complete pids 2> /dev/null)"

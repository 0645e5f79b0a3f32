# Messages of ./dev: steps with their elapsed time on stderr, so that stdout stays the command's own.

say() { printf '\033[1m[%3ds]\033[0m %s\n' "$SECONDS" "$*" >&2; }

die() {
    printf '\033[1;31merror:\033[0m %s\n' "$*" >&2
    exit 1
}

# step TEXT COMMAND...: shows TEXT, runs COMMAND with its output in a log, shows the log's end on failure.
step() {
    local text=$1 log
    shift
    log=$(mktemp)
    say "$text"
    if ! "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "$text: failed (its last lines are above)"
    fi
    rm -f "$log"
}

# need_space FOLDER GIBIBYTES PURPOSE
need_space() {
    local free
    free=$(df -Pk "$1" | awk 'NR==2 {print int($4 / 1048576)}')
    [ "$free" -ge "$2" ] ||
        die "$3 needs $2 GiB in $1, which has $free GiB free. Free some space, or point EXOMESH_CACHE elsewhere."
}

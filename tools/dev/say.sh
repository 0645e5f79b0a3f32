# shellcheck shell=bash  # read by ./dev, under set -e
# Messages of ./dev: steps with their elapsed time on stderr, so that stdout stays the command's own.

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    BOLD=$'\033[1m' RED=$'\033[1;31m' PLAIN=$'\033[0m'
else
    BOLD='' RED='' PLAIN=''
fi

say() { printf '%s[%3ds]%s %s\n' "$BOLD" "$SECONDS" "$PLAIN" "$*" >&2; }

die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2
    exit 1
}

# Why a step may have failed: a full disk where there is one, else what the step's caller supposes.
failure_hint() {
    local full
    full=$(df -Pk "$CACHE_DIR" "${TMPDIR:-/tmp}" / 2>/dev/null | awk 'NR > 1 && $4 < 131072 {print $6; exit}')
    if [ -n "$full" ]; then
        echo "The disk is full: $full has less than 128 MiB free. Free some space, or point EXOMESH_CACHE elsewhere."
    else
        echo "${STEP_HINT:-}"
    fi
}

# step TEXT COMMAND...: shows TEXT (on a terminal with the seconds that pass), runs COMMAND with its
# output in a log, and shows the log's end on failure.
step() {
    local text=$1 log ticker='' status=0 interrupted='' hint
    shift
    log=$(mktemp) || die "cannot write to ${TMPDIR:-/tmp}: is the disk full?"
    if [ -t 2 ]; then
        tick "$text" &
        ticker=$!
    else
        say "$text"
    fi
    trap 'interrupted=yes' INT
    "$@" >"$log" 2>&1 || status=$?
    trap - INT
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        printf '\r\033[K' >&2
        say "$text"
    fi
    if [ -n "$interrupted" ]; then
        rm -f "$log"
        say "interrupted; what is half done is made anew next time"
        exit 130
    fi
    if [ "$status" -ne 0 ]; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        hint=$(failure_hint)
        die "$text: failed (its last lines are above)${hint:+. $hint}"
    fi
    rm -f "$log"
}

# Ends by itself when the shell that shows it is gone.
tick() {
    while kill -0 $$ 2>/dev/null; do
        printf '\r\033[K[%3ds] %s ...' "$SECONDS" "$1" >&2
        sleep 1
    done
}

# need_space FOLDER GIBIBYTES PURPOSE
need_space() {
    local free
    free=$(df -Pk "$1" | awk 'NR==2 {print int($4 / 1048576)}')
    [ "$free" -ge "$2" ] ||
        die "$3 needs $2 GiB in $1, which has $free GiB free. Free some space, or point EXOMESH_CACHE elsewhere."
}

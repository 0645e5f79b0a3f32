#!/usr/bin/env bash
# Makes, once, the root that holds the program exomesh is measured against: llama.cpp as Debian
# testing packages it. Prints the root's path.
#
#   tools/dev/rival_root.sh CACHE_DIR
#
# It is a second root because testing's libggml and libc would replace those exomesh is built with.
# It starts as Debian 13 and is upgraded to testing inside, since not every mirror serves what
# mmdebstrap needs to begin with testing. A root without its stamp was interrupted: it is made anew.
set -euo pipefail

CACHE_DIR=${1:?usage: rival_root.sh CACHE_DIR}
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/dev/say.sh
. "$HERE/say.sh"
# shellcheck source=tools/dev/root.sh
. "$HERE/root.sh"

RIVAL_DIR=$CACHE_DIR/rival-root
RIVAL_VERSION=2 # raise it when an older root must be made anew
# The extra tools hold ggml-rpc-server: how llama.cpp shares a model among processes.
RIVAL_PACKAGES="llama.cpp-tools libggml0 libggml0-backend-vulkan mesa-vulkan-drivers libvulkan1
    llama.cpp-tools-extra libggml0-backend-rpc"

# in_rival COMMAND...: runs COMMAND in the half-made root, in a mount namespace that ends with it.
# Inside the build root nothing is shared and its / is no mount point, so nothing can be made private.
in_rival() {
    local propagation=unchanged
    if grep -q ' shared:' /proc/self/mountinfo; then propagation=private; fi
    # shellcheck disable=SC2016
    unshare --mount --propagation "$propagation" bash -euc '
        root=$1; shift
        for folder in /dev /proc /sys; do mount --rbind "$folder" "$root$folder"; done
        for file in /etc/resolv.conf /etc/hosts; do
            [ -e "$file" ] || continue
            [ -e "$root$file" ] || : >"$root$file"
            mount --bind "$(readlink -f "$file")" "$root$file"
        done
        export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
        exec chroot "$root" /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' in_rival "$RIVAL_PARTIAL" "$@"
}

rival_apt() {
    in_rival apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Options::=--force-confnew "$@"
}

# The host's certificates get a name of their own: packages own the usual one and replace it.
switch_to_testing() {
    local mirror
    mirror=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' \
        "$RIVAL_PARTIAL/etc/apt/sources.list")
    echo "deb $mirror testing main" >"$RIVAL_PARTIAL/etc/apt/sources.list"
    printf 'Acquire::Check-Valid-Until "false";\nAcquire::Languages "none";\n' \
        >"$RIVAL_PARTIAL/etc/apt/apt.conf.d/99exomesh"
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$RIVAL_PARTIAL/etc/exomesh-ca.crt"
        echo 'Acquire::https::CaInfo "/etc/exomesh-ca.crt";' >>"$RIVAL_PARTIAL/etc/apt/apt.conf.d/99exomesh"
    fi
    rival_apt update
    rival_apt full-upgrade
}

make_rival() {
    local mirror
    RIVAL_PARTIAL=$RIVAL_DIR.partial.$$
    [ "$(id -u)" = 0 ] || die "the llama.cpp root needs root rights: run ./dev bench with sudo."
    command -v mmdebstrap >/dev/null || step "install mmdebstrap" install_mmdebstrap
    need_space "$CACHE_DIR" 4 "The llama.cpp root"
    rm -rf "$RIVAL_DIR" "$RIVAL_DIR".partial.*
    mirror=$(host_mirror)
    # shellcheck disable=SC2086
    step "make a Debian 13 root for llama.cpp (once)" mmdebstrap --mode=root --variant=apt \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        trixie "$RIVAL_PARTIAL" $mirror
    step "upgrade it to Debian testing" switch_to_testing
    # shellcheck disable=SC2086
    step "install llama.cpp in it" rival_apt install --no-install-recommends $RIVAL_PACKAGES
    rm -rf "$RIVAL_PARTIAL"/var/cache/apt/archives/*.deb
    echo "$RIVAL_VERSION" >"$RIVAL_PARTIAL/.exomesh-rival"
    mv "$RIVAL_PARTIAL" "$RIVAL_DIR"
}

mkdir -p "$CACHE_DIR"
(
    flock 9
    if [ "$(cat "$RIVAL_DIR/.exomesh-rival" 2>/dev/null)" != "$RIVAL_VERSION" ] ||
        [ ! -x "$RIVAL_DIR/usr/bin/llama-server" ]; then
        make_rival
    fi
) 9>"$CACHE_DIR/rival-root.lock"
echo "$RIVAL_DIR"

#!/usr/bin/env bash
# bundle.sh PROGRAM FOLDER: writes FOLDER/exomesh-VERSION-linux-ARCH.tar.gz and prints its path.
#
# The bundle has every library the program needs, glibc and its loader too, so that it runs on any
# Linux of this processor family however old its libraries are. bin/exomesh starts the program through
# the bundled loader; nothing is set in the environment that another program would inherit, so host
# programs and GPU drivers keep working. Only GPU drivers come from the host.
set -euo pipefail

program=$1
folder=$2
source_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
architecture=$(uname -m)
version=$(sed -nE 's/.*version = "([^"]+)".*/\1/p' "$source_folder/src/base/version.h")
name=exomesh-$version-linux-$architecture
case "$architecture" in
    x86_64) loader=/lib64/ld-linux-x86-64.so.2 ;;
    aarch64) loader=/lib/ld-linux-aarch64.so.1 ;;
    *) echo "error: no bundle for $architecture yet" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/$name
mkdir -p "$bundle/bin" "$bundle/lib/ggml" "$bundle/licenses" "$folder"

backend_folders=(/usr/lib/*/ggml)
[ -d "${backend_folders[0]}" ] || { echo "error: no ggml backends in /usr/lib/*/ggml" >&2 && exit 1; }
mapfile -t backends < <(find "${backend_folders[0]}" -name 'libggml-*.so')

# needed_libraries FILE...: what the loader would load for them, each once.
needed_libraries() {
    local file
    for file in "$@"; do
        ldd "$file" | awk '$2 == "=>" && $3 ~ /^\// {print $3}'
    done | sort -u
}
mapfile -t libraries < <(needed_libraries "$program" "${backends[@]}")

install -s "$program" "$bundle/lib/exomesh"
cp -L "$loader" "$bundle/lib/"
cp -L "${libraries[@]}" "$bundle/lib/"
cp -L "${backends[@]}" "$bundle/lib/ggml/"
strip --strip-unneeded "$bundle/lib/ggml/"*.so 2>/dev/null || true

cat >"$bundle/bin/exomesh" <<'TXT'
#!/bin/sh
# Starts the program with the loader and the libraries of this bundle.
bin=$(dirname "$(readlink -f "$0")")
EXOMESH_PROGRAM=$bin/exomesh
export EXOMESH_PROGRAM
exec "$bin/../lib/LOADER" --argv0 exomesh --library-path "$bin/../lib" "$bin/../lib/exomesh" "$@"
TXT
sed -i "s|LOADER|$(basename "$loader")|" "$bundle/bin/exomesh"
chmod 755 "$bundle/bin/exomesh"

cp "$source_folder/LICENSE" "$bundle/"
cp "$source_folder/tools/dev/bundle_readme.md" "$bundle/README.md"

# The licences of what comes from packages.
for file in "$loader" "${libraries[@]}" "${backends[@]}"; do
    # One of the two names is the package's, so one of them is not found.
    { dpkg -S "$(readlink -f "$file")" "$file" 2>/dev/null || true; } | grep -v '^diversion' | cut -d: -f1
done | sort -u | while read -r package; do
    [ ! -f "/usr/share/doc/$package/copyright" ] ||
        cp -L "/usr/share/doc/$package/copyright" "$bundle/licenses/$package.txt"
done

# The same files give the same archive, byte for byte.
moment=${SOURCE_DATE_EPOCH:-$(git -c safe.directory='*' -C "$source_folder" log -1 --format=%ct 2>/dev/null || echo 0)}
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$moment" -C "$work" -cf - "$name" |
    gzip -n >"$folder/$name.tar.gz.partial"
mv "$folder/$name.tar.gz.partial" "$folder/$name.tar.gz"
echo "$folder/$name.tar.gz"

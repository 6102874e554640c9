# Makes a copy of a glibc loader that also finds the libraries of a folder: it looks into a cache of these, as it would
# into /etc/ld.so.cache elsewhere. The loader of nixpkgs looks for a cache in its own package, where there is none.
#
# loader-with-libraries.sh LOADER FOLDER OUT; needs ldconfig, sed and tr. The new cache's path must not be longer than the
# old one's, in whose place it stands.
set -eu
loader=$1 folder=$2 out=$3

old=$(tr '\0' '\n' < "$loader" | LC_ALL=C grep -a -x '/.*/ld\.so\.cache')
new=$out/cache
if [ "$(printf '%s\n' "$old" | wc -l)" -ne 1 ] || [ "${#new}" -gt "${#old}" ]; then
  echo "$loader: the path of its cache cannot be replaced: $old" >&2
  exit 1
fi
zeros=$(printf "%$((${#old} - ${#new}))s" '' | sed 's/ /\\x00/g')

mkdir -p "$out"
LC_ALL=C sed "s|$old|$new$zeros|" "$loader" > "$out/ld.so"
chmod 755 "$out/ld.so"
echo "$folder" > "$out/folders"
ldconfig -X -f "$out/folders" -C "$new"

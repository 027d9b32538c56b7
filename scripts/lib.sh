# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts share. Sourced; expects `set -euo pipefail`.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# Runs its arguments as root, by sudo if need be.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "run this as root, or install sudo"
	fi
}

# setup_build DIR OPTION...: configures a build folder, or reuses the one that is there.
setup_build() {
	local dir=$1
	shift
	if [ -e "$dir/build.ninja" ]; then
		meson configure "$dir" "$@" >/dev/null
	else
		meson setup "$dir" "$top" "$@" >"$dir.log" 2>&1 || {
			cat "$dir.log" >&2
			die "meson setup failed"
		}
		rm -f "$dir.log"
	fi
}

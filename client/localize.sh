#!/bin/sh
# SPDX-License-Identifier: MIT
#
# localize.sh IN.a OUT.a: the objects of IN as one, of which only the exported symbols are seen, so that
# what a program is linked with statically cannot meet a name of its own.
set -eu
object=$2.o
ld -r --whole-archive "$1" -o "$object"
objcopy --localize-hidden "$object"
rm -f "$2"
ar rcs "$2" "$object"
rm "$object"

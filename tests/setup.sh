#!/bin/sh
# Makes a Debian 12 or Raspberry Pi OS machine with rustup ready for the test command. Running it again changes nothing.
#
#   tests/setup.sh [--quiet] [--arm32]
#
# - mosquitto and its clients: the broker of the end-to-end tests.
# - e2fsprogs, mount and util-linux: the file system, the loop devices and the mount namespace of the power-cut rig.
# - Rust's standard library for wasm32-unknown-unknown (functions), thumbv8m.main-none-eabihf, thumbv7em-none-eabihf and
#   riscv32imac-unknown-none-elf (nodes): from rustup, or, where rustup cannot download, built from Debian's packages into a
#   toolchain of its own, ${XDG_CACHE_HOME:-$HOME/.cache}/eyot/sysroot.
# - qemu-system-arm: the microcontroller of the end-to-end tests.
# - qemu-user-static and aarch64-unknown-linux-musl: the processor that results are compared on. Where rustup cannot download
#   that target, the comparison is left out.
#
# - gcc for aarch64: for what of a gateway for it is written in C.
# - With --arm32, the same of 32-bit Arm, and Rust's standard library for armv7-unknown-linux-gnueabihf.
#
# Whoever builds for one of these targets uses the default toolchain if it has the target, and otherwise that one:
# RUSTUP_TOOLCHAIN=$HOME/.cache/eyot/sysroot. EYOT_WASM_TOOLCHAIN names another toolchain for functions.
set -eu

targets="wasm32-unknown-unknown thumbv8m.main-none-eabihf thumbv7em-none-eabihf riscv32imac-unknown-none-elf"
quiet=no arm32=no
for argument in "$@"; do
    case $argument in
    --quiet) quiet=yes ;;
    --arm32) targets="$targets armv7-unknown-linux-gnueabihf" arm32=yes ;;
    --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "usage: tests/setup.sh [--quiet] [--arm32]" >&2; exit 2 ;;
    esac
done
here=$(cd "$(dirname "$0")" && pwd)
sysroot=${XDG_CACHE_HOME:-$HOME/.cache}/eyot/sysroot
# Debian keeps the broker where users do not look.
PATH=$PATH:/usr/sbin:/sbin

say() {
    [ "$quiet" = yes ] || echo "setup: $*"
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        fail "not root, and no sudo; as root, run: $*"
    fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
lists_are_new=no

# Installs packages; what apt-get says is shown only if it fails.
install() {
    command -v apt-get > /dev/null || fail "no apt-get here; install these yourself: $*"
    say "installing $*"
    if [ $lists_are_new = no ]; then
        as_root apt-get update > "$log" 2>&1 || say "apt-get update failed; going on with the lists there are"
        lists_are_new=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" > "$log" 2>&1 && return
    cat "$log" >&2
    fail "apt-get could not install $*"
}

default_has() {
    command -v rustc > /dev/null || return 1
    libdir=$(rustc --print target-libdir --target "$1" 2> /dev/null) || return 1
    ls "$libdir"/libcore-*.rlib > /dev/null 2>&1
}

sysroot_has() {
    [ -x /usr/bin/rustc ] || return 1
    release=$(/usr/bin/rustc -vV | sed -n 's/^release: //p')
    [ "$(cat "$sysroot/lib/rustlib/$1/.version" 2> /dev/null)" = "$release" ]
}

rustup_adds() {
    command -v rustup > /dev/null || return 1
    say "rustup target add $1"
    timeout 300 rustup target add "$1" > "$log" 2>&1 && default_has "$1"
}

from_debian() {
    say "rustup cannot provide $1; building it from Debian's packages, which takes a minute or two"
    for program in rustc cargo; do
        [ -x /usr/bin/$program ] || install rustc-web cargo-web
    done
    llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    [ -x "/usr/bin/lld-$llvm" ] || install "lld-$llvm"
    [ -d /usr/lib/rustlib/src/rust/library/vendor ] || install rust-web-src
    "$here/mk-sysroot.sh" "$sysroot" "$1"
}

for pair in mosquitto:mosquitto mosquitto_pub:mosquitto-clients mkfs.ext4:e2fsprogs losetup:mount unshare:util-linux qemu-aarch64-static:qemu-user-static qemu-system-arm:qemu-system-arm aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu; do
    command -v "${pair%%:*}" > /dev/null || install "${pair##*:}"
done
[ -e /usr/aarch64-linux-gnu/include/stdint.h ] || install libc6-dev-arm64-cross
if [ $arm32 = yes ]; then
    command -v arm-linux-gnueabihf-gcc > /dev/null || install gcc-arm-linux-gnueabihf
    [ -e /usr/arm-linux-gnueabihf/include/stdint.h ] || install libc6-dev-armhf-cross
fi
say "mosquitto: $(command -v mosquitto)"
for target in $targets; do
    if default_has "$target"; then
        say "$target: default toolchain"
    elif sysroot_has "$target"; then
        say "$target: $sysroot"
    elif rustup_adds "$target"; then
        say "$target: default toolchain"
    else
        from_debian "$target"
        say "$target: $sysroot"
    fi
done
other=aarch64-unknown-linux-musl
if default_has $other || rustup_adds $other; then
    say "$other: default toolchain"
else
    say "$other: not here; results are not compared between processors"
fi

#!/bin/sh
# The test command: sets up what the tests need, then runs everything.
#
#   tests/run.sh             all of it, about half an hour from nothing on two cores
#   tests/run.sh NAME...     only these steps: format lint unit functions node hostile fuzz powercut e2e demo bench
#   tests/run.sh image       a card for QEMU, booted and cut off; not part of the whole: five minutes
#   tests/run.sh package     a Debian package, tried under systemd in a container; not part of the whole, as root: ten minutes
#   tests/run.sh cross       the programs of a 64-bit and a 32-bit Arm, tried in an emulator; not part of the whole: a quarter of an hour
#
# Each step stops the run when it fails. Tests that this machine cannot run say SKIPPED and why.
set -eu

cd "$(dirname "$0")/.."
case "${1:-}" in --help | -h)
    sed -n '2,/^set/s/^# \{0,1\}//p' tests/run.sh
    exit 0
    ;;
esac
all="format lint unit functions node hostile fuzz powercut e2e demo bench"
steps=${*:-$all}
PATH=$PATH:/usr/sbin
sysroot=${XDG_CACHE_HOME:-$HOME/.cache}/eyot/sysroot
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"

# The toolchain that has a target: the default one, or the one that setup.sh built.
toolchain_for() {
    if ls "$(rustc --print target-libdir --target "$1" 2> /dev/null)"/libcore-*.rlib > /dev/null 2>&1; then
        echo "${RUSTUP_TOOLCHAIN:-}"
    else
        echo "$sysroot"
    fi
}

with_target() {
    target=$1
    shift
    chain=$(toolchain_for "$target")
    if [ -n "$chain" ]; then
        RUSTUP_TOOLCHAIN=$chain "$@" --target "$target"
    else
        "$@" --target "$target"
    fi
}

step_format() {
    cargo fmt --all --check
    (cd functions && cargo fmt --all --check)
    (cd tests/differential && cargo fmt --check)
    (cd tests/fuzz/guided && cargo fmt --check)
}

# Off by default, and tested all the same.
features=eyot-node/flash,eyot-node/boot

step_lint() {
    cargo clippy --workspace --all-targets --features $features --quiet -- -D warnings
    cargo clippy -p eyot-gateway --no-default-features --quiet -- -D warnings
    (cd functions && cargo clippy --workspace --all-targets --quiet -- -D warnings)
}

step_unit() {
    EYOT_REQUIRE_WASM=1 cargo test --workspace --features $features --exclude eyot-test-e2e --exclude eyot-test-bench --exclude eyot-test-powercut --exclude eyot-test-hostile --exclude eyot-test-fuzz --quiet
}

step_functions() {
    (cd functions && cargo test --workspace --quiet)
}

# The engine must stay fit for a microcontroller; and the firmware of nodes, of which the end-to-end tests run the first, with
# its size. What does not fit the board's file does not link.
step_node() {
    cargo build -p eyot-engine --no-default-features --quiet
    for folder in budget embassy mps2-an505 pico-2 nrf52840-dk esp32-c6; do
        (cd "firmware/$folder" && cargo fmt --check)
    done
    build_firmware mps2-an505 thumbv8m.main-none-eabihf mps2-an505
    # The same for the boot loader's slot, so that the tests can renew it.
    with_target thumbv8m.main-none-eabihf sh -c 'cd firmware/mps2-an505 && cargo build --release --locked --quiet --features slot --bin eyot-mps2-an505-slot "$@"' slot
    build_firmware pico-2 thumbv8m.main-none-eabihf mps2-an505
    build_firmware nrf52840-dk thumbv7em-none-eabihf nrf52840-dk
    build_firmware esp32-c6 riscv32imac-unknown-none-elf esp32-c6
}

# Builds a firmware for a processor, in the folder that has that processor's builds, and says what it takes of flash, and of
# memory but for its stack.
build_firmware() {
    with_target "$2" sh -c 'cd "firmware/$0" && cargo build --release --locked --quiet "$@"' "$1"
    flash=0 memory=0
    while read -r name type at _ size _ flags _; do
        case $flags in *A*) ;; *) continue ;; esac
        [ "$type" = NOBITS ] || flash=$((flash + 0x$size))
        case $name:$at in .stack:*) ;; *:2* | *:38* | *:408*) memory=$((memory + 0x$size)) ;; esac
    done << SECTIONS
$(readelf -SW "firmware/$3/target/$2/release/eyot-$1" | sed -n 's/^ *\[ *[0-9]*\] //p')
SECTIONS
    echo "$1: $((flash / 1024)) KiB of flash, $((memory / 1024)) KiB of memory with its heap"
}

# Functions that try to harm the gateway. As it is shipped, because its limits are in time too.
step_hostile() {
    cargo test --release -p eyot-test-hostile
}

# Whatever reads bytes from outside. Longer: EYOT_FUZZ_SECONDS.
step_fuzz() {
    cargo test -p eyot-test-fuzz
}

# A short sweep. The long one: cargo run --release -p eyot-test-powercut -- --cuts 10000
step_powercut() {
    cargo test --release -p eyot-test-powercut
}

step_e2e() {
    EYOT_REQUIRE_NODE=1 cargo test --release -p eyot-test-e2e -- --test-threads=2
}

# Images of gateways for the 64-bit Arm and for PCs, made twice, and booted in QEMU.
step_image() {
    for pair in qemu-system-aarch64:qemu-system-arm qemu-system-x86_64:qemu-system-x86; do
        command -v "${pair%%:*}" > /dev/null || apt-get install -y -qq --no-install-recommends "${pair##*:}" > /dev/null
    done
    [ -e /usr/share/OVMF/OVMF_CODE_4M.fd ] || apt-get install -y -qq --no-install-recommends ovmf > /dev/null
    for target in aarch64-unknown-linux-musl x86_64-unknown-linux-musl; do
        default_has $target || { echo "SKIPPED: rustup cannot provide $target"; return; }
        build_programs $target eyotd eyot-init
    done
    EYOT_BOOT_TARGET_DIR=$PWD/target \
        cargo test --release -p eyot-test-e2e --test boot -- --nocapture --test-threads=1
}

# The Debian package: what it is made of, what lintian and systemd say of it, and what becomes of it under apt and systemd.
step_package() {
    [ "$(id -u)" = 0 ] || { echo "SKIPPED: a container takes root"; return; }
    target=x86_64-unknown-linux-musl
    default_has $target || { echo "SKIPPED: rustup cannot provide $target"; return; }
    for pair in mmdebstrap:mmdebstrap systemd-nspawn:systemd-container lintian:lintian; do
        command -v "${pair%%:*}" > /dev/null || apt-get install -y -qq --no-install-recommends "${pair##*:}" > /dev/null
    done
    PATH=$PWD/target/tools/bin:$PATH
    command -v cargo-deb > /dev/null || cargo install --quiet --locked --root target/tools cargo-deb
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2> /dev/null || echo 1704067200)
    export SOURCE_DATE_EPOCH
    build_programs $target eyotd eyot
    packages=target/$target/packages
    rm -rf "$packages" && mkdir -p "$packages/again"
    for revision in 1 2; do
        cargo deb -q -p eyot-gateway --target $target --profile shipped --no-build --deb-revision $revision -o "$packages/"
    done
    cargo deb -q -p eyot-gateway --target $target --profile shipped --no-build --deb-revision 1 -o "$packages/again/"
    cmp "$packages/again/"*.deb "$packages/"*-1_amd64.deb
    rm -r "$packages/again"
    lintian --allow-root --fail-on error,warning "$packages/"*-1_amd64.deb
    systemd-analyze security --offline=true --threshold=20 runtime/gateway/debian/eyotd.service | tail -n 1
    debian=${XDG_CACHE_HOME:-$HOME/.cache}/eyot/debian.tar
    [ -e "$debian" ] || mmdebstrap --quiet --variant=minbase \
        --include=systemd-sysv,dbus,debconf,mosquitto,mosquitto-clients,procps bookworm "$debian"
    EYOT_PACKAGES=$PWD/$packages EYOT_DEBIAN=$debian cargo test --release -p eyot-test-e2e --test package -- --nocapture
}

step_demo() {
    cargo run --release --quiet --bin eyot -- demo --messages 20000 --json
}

# Beside the native program only: what npm and pip would install takes longer than all of it. All: --bin bench by itself.
step_bench() {
    cargo test --release -p eyot-test-bench --lib --quiet
    cargo run --release --quiet -p eyot-test-bench --bin bench -- --messages 20000 --rounds 1 --broker rumqttd --qos 1 \
        --gateway eyot --gateway native
    cargo run --release --quiet -p eyot-test-bench --bin backlog -- --megabytes 50
}

# The daemon as it is on a 64-bit and on a 32-bit Arm, in an emulator, beside a real broker: messages, functions, kill -9; and
# TLS, which is what of it is not Rust.
step_cross() {
    if default_has aarch64-unknown-linux-musl; then
        try_programs aarch64-unknown-linux-musl qemu-aarch64-static
    else
        echo "SKIPPED: rustup cannot provide aarch64-unknown-linux-musl"
    fi
    tests/setup.sh --quiet --arm32
    try_programs armv7-unknown-linux-gnueabihf qemu-arm-static
}

try_programs() {
    target=$1
    emulator=$2
    build_programs "$target" eyotd eyot
    programs=$PWD/target/$target/shipped
    wrappers=$PWD/target/$target/emulated
    mkdir -p "$wrappers"
    for program in eyotd eyot; do
        printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$emulator" "$programs/$program" > "$wrappers/$program"
        chmod +x "$wrappers/$program"
        "$wrappers/$program" --version
    done
    EYOT_E2E_BIN_DIR=$wrappers cargo test --release --quiet -p eyot-test-e2e --test daemon -- --exact \
        bad_input::the_contract_example_is_accepted status::the_status_says_what_runs \
        status::the_ledger_survives_kill_minus_nine tls::broker_and_uplink_are_reached_over_tls
}

default_has() {
    ls "$(rustc --print target-libdir --target "$1" 2> /dev/null)"/libcore-*.rlib > /dev/null 2>&1
}

# Programs for another processor, and their sizes. They must need no library of the system that they run on.
build_programs() {
    target=$1
    shift
    programs=
    for program in "$@"; do programs="$programs --bin $program"; done
    # shellcheck disable=SC2086
    with_target "$target" cargo build --profile shipped --locked --quiet $programs
    for program in "$@"; do
        file=target/$target/shipped/$program
        if readelf -dW "$file" | grep -q NEEDED; then
            echo "$file is not static" >&2
            exit 1
        fi
        echo "$target: $program has $(($(wc -c < "$file") / 1024)) KiB"
    done
}

for step in $steps; do
    case " $all image package cross " in *" $step "*) ;; *)
        echo "tests/run.sh: there is no step \"$step\"; the steps are: $all image package cross" >&2
        exit 2
        ;;
    esac
done
tests/setup.sh
for step in $steps; do
    echo "== $step"
    "step_$step"
done
echo "== all steps passed: $steps"

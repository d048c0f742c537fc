#!/bin/sh
# Builds Rust's standard library for targets that rustup cannot fetch, from Debian's packages and without a network.
#
#   mk-sysroot.sh PREFIX TARGET...
#
# PREFIX, an absolute path, becomes a toolchain: RUSTUP_TOOLCHAIN=PREFIX cargo build --target TARGET. A target that is
# there for the installed compiler is left alone. Needs the packages rustc-web cargo-web rust-web-src and the lld of
# the compiler's LLVM, see setup.sh.
set -eu

case ${1:-} in
/*) prefix=$1 ;;
*) echo "usage: mk-sysroot.sh /absolute/prefix target..." >&2; exit 2 ;;
esac
shift

# By full path: rustup's programs of the same name may come first in PATH, and source and compiler must match.
rustc=/usr/bin/rustc
library=/usr/lib/rustlib/src/rust/library
for need in "$rustc" /usr/bin/cargo "$library"; do
    [ -e "$need" ] || { echo "mk-sysroot.sh: $need is missing; run tests/setup.sh" >&2; exit 1; }
done
release=$("$rustc" -vV | sed -n 's/^release: //p')
host=$("$rustc" -vV | sed -n 's/^host: //p')
llvm=$("$rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
lld=/usr/bin/lld-$llvm
[ -e "$lld" ] || { echo "mk-sysroot.sh: $lld is missing; install the package lld-$llvm" >&2; exit 1; }

rustlib=$prefix/lib/rustlib
mkdir -p "$prefix/bin" "$rustlib/$host/bin"
ln -sfn /usr/bin/cargo "$prefix/bin/cargo"
ln -sfn "/usr/lib/rustlib/$host/lib" "$rustlib/$host/lib"
ln -sfn /usr/lib/rustlib/src "$rustlib/src"
ln -sfn "$lld" "$rustlib/$host/bin/rust-lld"
for program in rustc rustdoc; do
    printf '#!/bin/sh\nexec /usr/bin/%s --sysroot "%s" "$@"\n' "$program" "$prefix" > "$prefix/bin/$program.new"
    chmod +x "$prefix/bin/$program.new"
    mv "$prefix/bin/$program.new" "$prefix/bin/$program"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# As rustc's own build does it: panic_abort aborts, everything else follows the target's default.
cat > "$work/rustc-wrapper" <<'WRAPPER'
#!/bin/sh
case " $* " in *" --crate-name panic_abort "*) exec "$@" -Cpanic=abort ;; esac
exec "$@"
WRAPPER
chmod +x "$work/rustc-wrapper"
mkdir "$work/src"
echo '#![no_std]' > "$work/src/lib.rs"
cat > "$work/Cargo.toml" <<'MANIFEST'
[package]
name = "sysroot_stub"
version = "0.0.0"
edition = "2021"
[workspace]
[profile.release]
codegen-units = 16
MANIFEST

# Sources are named as in rustup's standard library, so that no path of this machine gets into what is built.
commit=$("$rustc" -vV | sed -n 's/^commit-hash: //p')
for target in "$@"; do
    dir=$rustlib/$target
    [ "$(cat "$dir/.version" 2>/dev/null)" = "$release" ] && continue
    case $target in *-none-*) crates=core,alloc ;; *) crates=std,panic_abort ;; esac
    (
        cd "$work"
        env -u RUSTUP_TOOLCHAIN PATH="$prefix/bin:/usr/bin:/bin" CARGO_HOME="$work/cargo" RUSTC="$prefix/bin/rustc" \
            RUSTC_WRAPPER="$work/rustc-wrapper" RUSTC_BOOTSTRAP=1 \
            RUSTFLAGS="-Cembed-bitcode=yes -Zforce-unstable-if-unmarked --remap-path-prefix=$rustlib/src/rust=/rustc/$commit" \
            "$prefix/bin/cargo" build --quiet --release --offline -Zbuild-std=$crates --target "$target" \
            --target-dir "$work/target" --config 'source.crates-io.replace-with="vendored"' \
            --config "source.vendored.directory='$library/vendor'"
    )
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new/lib"
    for lib in "$work/target/$target/release/deps"/*.rlib; do
        case $lib in *sysroot_stub*) ;; *) cp "$lib" "$dir.new/lib/" ;; esac
    done
    echo "$release" > "$dir.new/.version"
    mv "$dir.new" "$dir"
    rm -rf "$work/target"
done

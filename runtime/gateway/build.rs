//! Links `eyotd` with packed relative relocations where the linker knows them: the loader reads all relocations at start,
//! and 400 KB of them would stay in memory. A linker that does not know the option says so and goes on.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

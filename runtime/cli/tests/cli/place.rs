//! `eyot place`.

use crate::harness::{module, with_manifest, Folder, ECHO, MANIFEST};

/// A function that does nothing, with so many pages of memory, of 64 KiB.
fn beginning_with(pages: u32) -> Vec<u8> {
    let module = format!(
        r#"(module (memory (export "memory") {pages}) (func (export "eyot_abi") (result i32) (i32.const 1))
           (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
           (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) (i32.const 0)))"#
    );
    with_manifest(&wat::parse_str(module).unwrap(), MANIFEST)
}

#[test]
fn a_function_is_told_where_it_fits_and_by_how_much() {
    let folder = Folder::new();
    folder.write("fn.wasm", beginning_with(1));
    let bytes = folder.read("fn.wasm").len();
    folder.eyot(&["place", "fn.wasm"]).exits(0).prints(&[
        "sample 1.2.3",
        "mps2-an505",
        &format!("module bytes: {bytes} of 98304"),
        &format!("8 x {bytes} to load the module"),
        "nothing runs on it yet",
    ]);
    let report = folder.eyot(&["place", "fn.wasm", "--json"]).exits(0).json();
    let boards = report["boards"].as_array().unwrap();
    let fits = |id: &str| boards.iter().find(|board| board["board"] == id).unwrap()["fits"].as_bool().unwrap();
    assert_eq!(["mps2-an505", "rpi-5", "esp32-c6", "nucleo-f446re"].map(fits), [true, true, true, false]);
}

/// Its manifest says nothing of it: the node's limit is lower than what the module begins with.
#[test]
fn a_module_that_begins_with_more_memory_than_a_node_grants_does_not_fit_it() {
    let folder = Folder::new();
    folder.write("fn.wasm", beginning_with(2));
    let reason = "is refused: module: 131072 bytes of initial memory (limits.memory), at most 65536 are allowed";
    folder.eyot(&["place", "fn.wasm", "--board", "mps2-an505"]).exits(1).prints(&["does not fit", reason]);
    folder.eyot(&["place", "fn.wasm", "--board", "rpi-4b"]).exits(0);
}

#[test]
fn what_does_not_fit_a_board_that_is_named_is_a_failure() {
    let folder = Folder::new();
    let manifest = MANIFEST.replace("[config]", "[limits]\nfuel = 2_000_000\n[config]");
    folder.write("fn.wasm", with_manifest(&module(ECHO), &manifest));
    let named = ["place", "fn.wasm", "--board", "rpi-4b", "--board", "mps2-an505"];
    folder.eyot(&named).exits(1).prints(&["does not fit", "fuel: 2000000 more than the 1000000"]);
    folder.eyot(&named[..4]).exits(0);
    folder.eyot(&["place", "fn.wasm", "--board", "rpi-9"]).exits(2).says(&["rpi-9", "eyot boards"]);
}

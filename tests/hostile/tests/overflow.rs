//! The module that ends a process through wasmi 2.0.0 ends it, and does not through the engine.
//!
//! Each instruction `memory.grow` that fails leaves a frame on the native stack, until wasmi returns to its caller; Wasm
//! limits, fuel without slices and `catch_unwind` do not help. If the first test fails, wasmi has been cured: then the
//! engine's mitigations (see `GUEST_STACK_MIN_BYTES`) can go.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};

use eyot_engine::limits::GUEST_STACK_MIN_BYTES;
use eyot_test_hostile::guest::{guest, load, MESSAGE};
use eyot_wire::code::Failure;

const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;
/// Tells the child which of the tests below it is.
const CHILD: &str = "EYOT_HOSTILE_CHILD";

/// One failed growth after the other, with the declared maximum below what is asked: no `ResourceLimiter` is asked.
const STORM: &str = "(loop $again (drop (memory.grow (i32.const -1))) (br $again)) unreachable";

fn in_a_child(test: &str) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, test).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap()
}

fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| child == test)
}

fn on_a_guest_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(GUEST_STACK_MIN_BYTES).spawn(work).unwrap().join().unwrap();
}

/// wasmi as its documentation uses it, with fuel for as many instructions as the engine allows.
fn plain_wasmi() {
    let mut config = wasmi::Config::default();
    config.consume_fuel(true);
    let engine = wasmi::Engine::new(&config);
    let module = wasmi::Module::new(&engine, guest("", STORM)).unwrap();
    let mut linker = wasmi::Linker::<()>::new(&engine);
    for import in module.imports() {
        let wasmi::ExternType::Func(ty) = import.ty() else { continue };
        linker.func_new("eyot", import.name(), ty.clone(), |_, _, _| Ok(())).unwrap();
    }
    let mut store = wasmi::Store::new(&engine, ());
    store.set_fuel(1_000_000_000).unwrap();
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    let handle = instance.get_typed_func::<(i32, i32, i32, i32), i32>(&store, "eyot_handle").unwrap();
    let _ = handle.call(&mut store, (0, 0, 0, 0));
}

#[test]
fn wasmi_alone_is_ended_by_the_module() {
    const NAME: &str = "wasmi_alone_is_ended_by_the_module";
    if is_child(NAME) {
        return on_a_guest_stack(plain_wasmi);
    }
    let status = in_a_child(NAME);
    assert!(matches!(status.signal(), Some(SIGABRT | SIGSEGV)), "wasmi lived: {status}");
}

#[test]
fn the_engine_is_not() {
    const NAME: &str = "the_engine_is_not";
    if is_child(NAME) {
        return on_a_guest_stack(|| {
            let mut function = load(&guest("", STORM), "fuel = 1_000_000_000").unwrap();
            assert_eq!(function.invoke(&MESSAGE), Err(Failure::Fuel));
            assert_eq!(function.invoke(&MESSAGE), Err(Failure::Fuel));
        });
    }
    let status = in_a_child(NAME);
    assert!(status.success(), "the engine ended with its process: {status}");
}

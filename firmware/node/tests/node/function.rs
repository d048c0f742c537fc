//! The function: how it comes, what it does, and what becomes of one that does harm.

use eyot_engine::{Function, Invocation, LoadOptions};
use eyot_node::{Channel, NodeLimits};
use eyot_wire::link::ToNode;
use sha2::{Digest, Sha256};

use crate::bench::{readings, Bench, Counter, Said, HEAP_BYTES};
use crate::way::a_node;

/// A module with this body of `eyot_handle`, and this manifest besides its name and version.
pub fn module(handle: &str, manifest: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "eyot" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
        (import "eyot" "log" (func $log (param i32 i32 i32)))
        (import "eyot" "state_set" (func $set (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2048 (pagesize 1))
        (data (i32.const 16) "out/1")
        (func (export "eyot_abi") (result i32) i32.const 1)
        (func (export "eyot_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "eyot_handle") (param i32 i32 i32 i32) (result i32) {handle}))"#
    );
    let mut wasm = wat::parse_str(text).unwrap();
    let manifest = format!("name = \"echo\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"sensors/+/raw\"\n{manifest}");
    let mut section = vec![13];
    section.extend_from_slice(b"eyot.manifest");
    section.extend_from_slice(manifest.as_bytes());
    assert!(section.len() < 1 << 14);
    wasm.push(0);
    wasm.extend([section.len() as u8 | 0x80, (section.len() >> 7) as u8]);
    wasm.extend(section);
    wasm
}

const EMIT: &str = "\n[allow]\nemit = [\"out/#\"]";
pub const ECHO: &str =
    "(call $emit (i32.const 16) (i32.const 5) (local.get 2) (local.get 3)) (call $log (i32.const 2) (i32.const 16) (i32.const 5)) (drop) (i32.const 0)";

pub fn sha(module: &[u8]) -> [u8; 32] {
    Sha256::digest(module).into()
}

/// Sends `module` as a gateway does, and returns what the node said meanwhile.
pub fn install(bench: &Bench, mut turn: impl FnMut(), module: &[u8]) -> Vec<Said> {
    bench.say(&ToNode::Begin { sha256: sha(module), bytes: module.len() as u32 });
    let mut said = Vec::new();
    for _ in 0..200 {
        turn();
        let heard = bench.heard();
        for said in &heard {
            if let Said::Wants(offset) = said {
                let rest = &module[*offset as usize..];
                let bytes = &rest[..rest.len().min(100)];
                bench.say(&ToNode::Chunk { sha256: sha(module), offset: *offset, bytes });
            }
        }
        let is_over = heard.iter().any(|said| matches!(said, Said::Done | Said::Refused(_)));
        said.extend(heard);
        if is_over {
            return said;
        }
    }
    panic!("no end: {said:?}");
}

#[test]
fn a_module_comes_in_chunks_and_then_makes_something_of_samples() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    assert_eq!(readings(&bench.heard()), [(1, "{\"n\":1}".to_owned())], "without a function a sample is an output");
    let module = module(ECHO, EMIT);
    let said = install(&bench, || node.turn().unwrap(), &module);
    assert_eq!(said.last(), Some(&Said::Done));
    assert_eq!(node.program().sha256(), Some(sha(&module)));
    bench.wait_ms(100);
    node.turn().unwrap();
    let said = bench.heard();
    assert!(said.contains(&Said::Log(2, "out/1".into())), "{said:?}");
    let reading = said.iter().find_map(|said| match said {
        Said::Reading { seq: 2, topic, payload, .. } => Some((topic.as_str(), payload.as_str())),
        _ => None,
    });
    assert_eq!(reading, Some(("out/1", "{\"n\":2}")));
    assert_eq!((node.ledger().invoked, node.ledger().failed), (1, 0));
}

#[test]
fn the_same_bytes_do_the_same_as_on_a_gateway() {
    let module = module(ECHO, EMIT);
    let mut gateway = Function::load(&module, LoadOptions::default()).unwrap();
    let message = Invocation { topic: "sensors/1/raw", payload: b"{\"n\":1}", now_ms: 0, seed: 2 };
    gateway.invoke(&message).unwrap();
    let there: Vec<_> = gateway.effects().emits().map(|emit| (emit.topic.to_owned(), emit.payload.to_vec())).collect();
    let mut program = eyot_node::invoke::Program::new(crate::bench::limits());
    program.load(&module, sha(&module)).unwrap();
    program.run(&message, &mut Bench::default()).unwrap().unwrap();
    let effects = program.effects().unwrap();
    let here: Vec<_> = effects.emits().map(|emit| (emit.topic.to_owned(), emit.payload.to_vec())).collect();
    assert_eq!((there, gateway.fuel_spent()), (here, program.fuel()), "to the unit of fuel");
}

#[test]
fn a_function_that_spins_ends_with_its_fuel_and_the_watchdog_is_fed_meanwhile() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    let spin = module("(loop (br 0)) (i32.const 0)", "");
    install(&bench, || node.turn().unwrap(), &spin);
    bench.heard();
    let fed = bench.alive();
    for _ in 0..3 {
        bench.wait_ms(100);
        node.turn().unwrap();
    }
    let ledger = node.ledger();
    assert_eq!((ledger.failed, ledger.invoked, ledger.pending), (3, 0, 1));
    assert!(bench.alive() - fed > 3 * 20, "each ran 1,000,000 fuel in slices of 20,000");
    let said = bench.heard();
    let told = said.iter().filter(|said| matches!(said, Said::Log(0, text) if text.contains("out of fuel"))).count();
    assert_eq!(told, 1, "once: {said:?}");
}

#[test]
fn a_module_that_is_refused_leaves_the_function_that_runs() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    let good = module(ECHO, EMIT);
    install(&bench, || node.turn().unwrap(), &good);
    let said = install(&bench, || node.turn().unwrap(), b"\0asm nonsense");
    assert!(matches!(said.last(), Some(Said::Refused(reason)) if reason.contains("WebAssembly")), "{said:?}");
    let large = vec![0; crate::bench::limits().module_bytes + 1];
    let said = install(&bench, || node.turn().unwrap(), &large);
    assert!(matches!(said.last(), Some(Said::Refused(reason)) if reason.contains("larger node")), "{said:?}");
    assert_eq!(node.program().sha256(), Some(sha(&good)));
}

#[test]
fn a_function_gives_way_to_one_that_might_not_fit_beside_it() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    let [first, second] = [module(ECHO, EMIT), module(ECHO, "\n[allow]\nemit = [\"out/1\"]")];
    install(&bench, || node.turn().unwrap(), &first);
    let most = crate::bench::limits().heap_bytes(b"\0asm nonsense".len()) as usize;
    for (used, is_kept) in [(HEAP_BYTES - most, true), (HEAP_BYTES - most + 1, false)] {
        bench.heap_used(used);
        let mut said = install(&bench, || node.turn().unwrap(), b"\0asm nonsense");
        node.turn().unwrap();
        said.extend(bench.heard());
        assert_eq!(node.program().sha256(), is_kept.then_some(sha(&first)), "{used}");
        // Whoever sends it is told that it must send the other again.
        assert_eq!(said.contains(&Said::Removed), !is_kept, "{said:?}");
    }
    bench.heap_used(0);
    install(&bench, || node.turn().unwrap(), &first);
    bench.heap_used(HEAP_BYTES - 1);
    let said = install(&bench, || node.turn().unwrap(), &second);
    assert_eq!((said.last(), node.program().sha256()), (Some(&Said::Done), Some(sha(&second))));
    assert!(!said.contains(&Said::Removed), "it is replaced");
}

#[test]
fn what_the_heap_cannot_hold_alone_is_refused_and_the_function_goes_on() {
    let limits = NodeLimits { module_bytes: HEAP_BYTES, ..crate::bench::limits() };
    a_node!(bench, node, limits);
    bench.welcome(7, 0);
    node.turn().unwrap();
    let good = module(ECHO, EMIT);
    install(&bench, || node.turn().unwrap(), &good);
    let fits = (HEAP_BYTES - (16 << 10)) / 8;
    for (len, is_wanted) in [(fits, true), (fits + 1, false)] {
        bench.say(&ToNode::Begin { sha256: [len as u8; 32], bytes: len as u32 });
        node.turn().unwrap();
        let said = bench.heard();
        assert_eq!(said.contains(&Said::Wants(0)), is_wanted, "{said:?}");
        let is_refused = |said: &Said| matches!(said, Said::Refused(told) if told.contains(&format!("1 to {fits}")));
        assert_eq!(said.iter().any(is_refused), !is_wanted, "{said:?}");
    }
    assert_eq!(node.program().sha256(), Some(sha(&good)));
}

#[test]
fn a_function_that_is_replaced_has_an_account_of_its_own_and_one_that_is_removed_leaves_samples() {
    a_node!(bench, node);
    bench.welcome(7, 0);
    node.turn().unwrap();
    install(&bench, || node.turn().unwrap(), &module(ECHO, EMIT));
    bench.wait_ms(100);
    node.turn().unwrap();
    bench.heard();
    let said = install(&bench, || node.turn().unwrap(), &module("unreachable", EMIT));
    let before = said.iter().position(|said| matches!(said, Said::Status(ledger) if ledger.invoked == 1));
    assert!(before.is_some_and(|at| said[at + 1..].contains(&Said::Done)), "{said:?}");
    bench.say(&ToNode::Remove);
    node.turn().unwrap();
    assert!(bench.heard().contains(&Said::Removed));
    assert_eq!(node.program().sha256(), None);
    bench.wait_ms(100);
    node.turn().unwrap();
    assert_eq!(readings(&bench.heard()).last().unwrap().1, "{\"n\":3}");
    assert_eq!(node.ledger().failed, 0);
}

#[test]
fn limits_of_a_manifest_are_lowered_to_those_of_the_node() {
    let mut program = eyot_node::invoke::Program::new(crate::bench::limits());
    let module = module(ECHO, "[limits]\nfuel = 900_000_000\nmemory = \"16MiB\"\n[allow]\nemit = [\"out/#\"]");
    program.load(&module, sha(&module)).unwrap();
    assert_eq!(program.manifest().unwrap().limits, crate::bench::limits().limits);
}

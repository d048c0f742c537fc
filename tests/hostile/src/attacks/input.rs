//! Lies about where the input may go, and memories that have no room for it.

use super::{Attack, End, OUT_OF_FUEL};
use crate::guest::{handle, module, ABI, ALLOC, IMPORTS, MEMORY};

fn with_alloc(body: &str) -> Vec<u8> {
    let alloc = format!(r#"(func (export "eyot_alloc") (param i32) (result i32) {body})"#);
    // A stack that grows down from 1,024, as compilers lay it out.
    let stack = "(global $sp (mut i32) (i32.const 1024))";
    let push =
        "(global.set $sp (i32.sub (global.get $sp) (i32.const 16))) (i64.store (global.get $sp) (i64.const -1)) \
                (i32.const 0)";
    module(&[IMPORTS, MEMORY, stack, ABI, &alloc, &handle(push)])
}

fn with_memory(memory: &str) -> Vec<u8> {
    module(&[IMPORTS, memory, ABI, ALLOC, &handle("(i32.const 0)")])
}

pub(super) fn all() -> Vec<Attack> {
    const OUTSIDE: End = End::Fails("bad-alloc", "outside of memory");
    const NONE: End = End::Fails("memory", "memory");
    vec![
        Attack::new("alloc-answers-0", with_alloc("(i32.const 0)"), NONE),
        Attack::new("alloc-answers-the-end", with_alloc("(i32.const 65536)"), OUTSIDE),
        Attack::new("alloc-answers-almost-the-end", with_alloc("(i32.const 65530)"), OUTSIDE),
        Attack::new("alloc-answers-minus-1", with_alloc("(i32.const -1)"), OUTSIDE),
        Attack::new("alloc-answers-the-least", with_alloc("(i32.const 0x80000000)"), OUTSIDE),
        Attack::new("alloc-answers-its-stack", with_alloc("(i32.sub (global.get $sp) (i32.const 8))"), End::Nothing),
        Attack::new("alloc-never-answers", with_alloc("(loop $again (br $again)) unreachable"), OUT_OF_FUEL),
        Attack::new(
            "alloc-takes-all",
            with_alloc("(drop (memory.grow (i32.const 15))) (drop (memory.grow (i32.const 1))) (i32.const 0)"),
            NONE,
        ),
        Attack::new("alloc-traps", with_alloc("unreachable"), End::Fails("trap", "unreachable")),
        Attack::new("memory-of-nothing", with_memory(r#"(memory (export "memory") 0)"#), OUTSIDE),
        Attack::new("memory-of-nothing-for-good", with_memory(r#"(memory (export "memory") 0 0)"#), OUTSIDE),
        Attack::new("memory-of-a-byte", with_memory(r#"(memory (export "memory") 1 1 (pagesize 1))"#), OUTSIDE),
        Attack::new(
            "memory-over-the-limit",
            with_memory(r#"(memory (export "memory") 17)"#),
            End::Refused("limits.memory"),
        ),
        Attack::new(
            "memory-of-4-gib",
            with_memory(r#"(memory (export "memory") 65536)"#),
            End::Refused("limits.memory"),
        ),
        Attack::new(
            "memory-over-the-ceiling",
            with_memory(r#"(memory (export "memory") 257)"#),
            End::Refused("at most 16777216 granted"),
        )
        .limits("memory = \"17MiB\""),
        Attack::new("fuel-over-the-ceiling", with_memory(MEMORY), End::Refused("limits.fuel"))
            .limits("fuel = 1_000_000_001"),
        Attack::new("output-over-the-ceiling", with_memory(MEMORY), End::Refused("limits.output"))
            .limits("output = \"2MiB\""),
        Attack::new("state-over-the-ceiling", with_memory(MEMORY), End::Refused("limits.state"))
            .limits("state = \"1TiB\""),
    ]
}

//! The functions that make a function of a module: its exports, and calls of the imports.

use wasm_encoder_236::{BlockType, Function, Instruction as I, MemArg, ValType};

use crate::smith::{Facts, EMIT, IMPORTS};

/// Where the input goes, unless the module decides.
const INPUT_AT: i32 = 0x8000;
/// Elements of a table that are looked at.
const ELEMENTS_SHOWN: i32 = 8;

fn at(align: u32) -> MemArg {
    MemArg { offset: 0, align, memory_index: 0 }
}

fn function(locals: &[ValType], code: &[I<'_>]) -> Function {
    let mut function = Function::new_with_locals_types(locals.iter().copied());
    for instruction in code {
        function.instruction(instruction);
    }
    function.instruction(&I::End);
    function
}

pub fn abi() -> Function {
    function(&[], &[I::I32Const(1)])
}

/// The block is where the module's own function says, or always at the same place.
pub fn alloc(own: Option<u32>) -> Function {
    match own {
        Some(own) => function(&[], &[I::LocalGet(0), I::Call(own), I::I32Const(0x1_ffff), I::I32And]),
        None => function(&[], &[I::I32Const(INPUT_AT)]),
    }
}

pub fn init(run: u32) -> Function {
    let zero = I::I32Const(0);
    function(&[], &[I::I32Const(7), zero.clone(), zero.clone(), zero.clone(), I::Call(run), I::Drop, zero])
}

/// A parameter, kept below `mask`.
fn masked(parameter: u32, mask: i32) -> [I<'static>; 3] {
    [I::LocalGet(parameter), I::I32Const(mask), I::I32And]
}

/// Calls import number `number`: with its own arguments if they are to be `raw`, and otherwise with what it may mostly be
/// called with. Topics and names of configuration are then written first where the first argument points; two bits of the
/// second choose them.
pub fn call(number: u32, raw: bool) -> Function {
    let name = IMPORTS[number as usize].0;
    if raw {
        let parameters = match name {
            "now_ms" => 0,
            "random" | "state_delete" => 2,
            "log" => 3,
            _ => 4,
        };
        return function(&[], &(0..parameters).map(I::LocalGet).chain([I::Call(number)]).collect::<Vec<_>>());
    }
    let mut code = Vec::new();
    let texts: &[&[u8; 8]] = match name {
        "emit" => &[b"out/aaaa", b"out/a/bc", b"no/aaaaa", b"out/+/aa"],
        "config_get" => &[b"unitunit", b"key key ", b"no such ", b"\xff\xff\xff\xff\xff\xff\xff\xff"],
        _ => &[],
    };
    if let [first, rest @ ..] = texts {
        code.extend(masked(0, 0x7ff8));
        code.push(I::I64Const(i64::from_le_bytes(**first)));
        for (choice, text) in (1..).zip(rest) {
            code.push(I::I64Const(i64::from_le_bytes(**text)));
            code.extend(masked(1, 3));
            code.extend([I::I32Const(choice), I::I32Ne, I::Select]);
        }
        code.push(I::I64Store(at(0)));
    }
    if name.starts_with("state_") {
        // A key of a byte out of eight, and of what stands behind it.
        code.extend(masked(0, 0x7fff));
        code.extend(masked(1, 7));
        code.push(I::I32Store8(at(0)));
    }
    let masks: &[i32] = match name {
        "emit" => &[0x7ff8, -1, 0x7fff, 0x7f],
        "log" => &[7, 0x7fff, 0x7ff],
        "now_ms" => &[],
        "random" => &[0x7fff, 0x7f],
        "state_delete" => &[0x7fff, 3],
        "config_get" => &[0x7ff8, -1, 0x7fff, 0x1f],
        // state_get, state_set
        _ => &[0x7fff, 3, 0x7fff, 0x3ff],
    };
    for (parameter, mask) in (0..).zip(masks) {
        match (name, mask) {
            ("emit", -1) => code.push(I::I32Const(8)),
            // The length of either name.
            ("config_get", -1) => {
                code.extend([I::I32Const(4), I::I32Const(3)]);
                code.extend(masked(1, 1));
                code.extend([I::I32Eqz, I::Select]);
            }
            _ => code.extend(masked(parameter, *mask)),
        }
    }
    code.push(I::Call(number));
    function(&[], &code)
}

/// Locals of `eyot_handle` behind its parameters.
const RESULT: u32 = 4;
const SAVED: u32 = 5;

/// Calls `run`, then emits what there is to see: memory from byte 8 on, its first 8 bytes, then globals and tables.
pub fn handle(run: u32, facts: &Facts, own_result: bool) -> Function {
    let mut code: Vec<I<'_>> = (0..4).map(I::LocalGet).collect();
    code.extend([I::Call(run), I::LocalSet(RESULT), I::MemorySize(0), I::If(BlockType::Empty)]);
    let topic = i64::from_le_bytes(*b"out/seen");
    code.extend([I::I32Const(0), I::I64Load(at(0)), I::LocalSet(SAVED)]);
    code.extend([I::I32Const(0), I::I64Const(topic), I::I64Store(at(0))]);
    let all = [I::MemorySize(0), I::I32Const(65_536), I::I32Mul, I::I32Const(8), I::I32Sub];
    show(&mut code, &all);
    code.extend([I::I32Const(8), I::LocalGet(SAVED), I::I64Store(at(0))]);
    show(&mut code, &[I::I32Const(8)]);
    let mut end = 8;
    for (index, (ty, _)) in (0..).zip(&facts.globals) {
        code.push(I::I32Const(end));
        code.push(I::GlobalGet(index));
        if matches!(ty, ValType::Ref(_)) {
            code.push(I::RefIsNull);
        }
        code.push(match ty {
            ValType::I64 => I::I64Store(at(0)),
            ValType::F32 => I::F32Store(at(0)),
            ValType::F64 => I::F64Store(at(0)),
            _ => I::I32Store(at(0)),
        });
        end += 8;
    }
    for table in 0..facts.tables {
        for element in 0..ELEMENTS_SHOWN {
            code.push(I::I32Const(end));
            code.extend([I::I32Const(element), I::TableSize(table), I::I32LtU]);
            code.push(I::If(BlockType::Result(ValType::I32)));
            code.extend([I::I32Const(element), I::TableGet(table), I::RefIsNull, I::Else, I::I32Const(2), I::End]);
            code.push(I::I32Store8(at(0)));
            end += 1;
        }
    }
    code.extend([I::I32Const(end), I::LocalGet(RESULT), I::I32Store(at(0))]);
    show(&mut code, &[I::I32Const(end - 4)]);
    code.push(I::End);
    code.push(if own_result { I::LocalGet(RESULT) } else { I::I32Const(0) });
    function(&[ValType::I32, ValType::I64], &code)
}

/// Emits so many bytes from byte 8 on, under the topic in the 8 bytes before.
fn show<'a>(code: &mut Vec<I<'a>>, length: &[I<'a>]) {
    code.extend([I::I32Const(0), I::I32Const(8), I::I32Const(8)]);
    code.extend(length.iter().cloned());
    code.extend([I::Call(EMIT), I::Drop]);
}

//! Random modules of wasm-smith, made into functions.
//!
//! wasm-smith makes a valid module with a function `run` that does anything. Around it come:
//! - the exports that a function has; `eyot_handle` calls `run` and then emits all that can be seen: memory, globals, tables;
//! - functions that call the imports, in place of those that wasm-smith made for that; most of them make their arguments
//!   sensible first, or all calls would be refused; and calls of these here and there, as wasm-smith makes few;
//! - an end for code that loops: what would trap when the loops have turned often enough, returns instead.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use eyot_engine::limits::GROWS_MAX;
use wasm_encoder_236::reencode::{utils, Error, Reencode};
use wasm_encoder_236::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Instruction as I,
    MemArg, Module, SectionId, TypeSection, ValType,
};
use wasmparser_236 as parser;
use wasmparser_236::Operator;

use crate::shell;

/// The imports, with the numbers of their types among those that are added.
pub const IMPORTS: [(&str, u32); 8] = [
    ("emit", TYPE_FOUR),
    ("log", TYPE_LOG),
    ("now_ms", TYPE_NOW),
    ("random", TYPE_TWO),
    ("state_get", TYPE_FOUR),
    ("state_set", TYPE_FOUR),
    ("state_delete", TYPE_TWO),
    ("config_get", TYPE_FOUR),
];
/// The import that shows things.
pub const EMIT: u32 = 0;
/// What wasm-smith makes: exports by the names of the imports, and two more.
const EXPORTS: &str = r#"(func (export "run") (param i32 i32 i32 i32) (result i32) unreachable)
(func (export "aux") (param i32) (result i32) unreachable)
(func (export "emit") (param i32 i32 i32 i32) (result i32) unreachable)
(func (export "log") (param i32 i32 i32) unreachable)
(func (export "now_ms") (result i64) unreachable)
(func (export "random") (param i32 i32) (result i32) unreachable)
(func (export "state_get") (param i32 i32 i32 i32) (result i32) unreachable)
(func (export "state_set") (param i32 i32 i32 i32) (result i32) unreachable)
(func (export "state_delete") (param i32 i32) (result i32) unreachable)
(func (export "config_get") (param i32 i32 i32 i32) (result i32) unreachable)"#;
/// How the memory is declared; functions may have 512 KiB.
const MEMORIES: [&str; 10] = ["1", "1", "1", "1", "1 3", "1 3", "2", "2", "8 20", "0 2"];
/// Between so many instructions, on average, stands a call of the host.
const CALL_EVERY: u32 = 16;
/// Bytes that wasm-smith takes its decisions from.
const CHOICES_BYTES: usize = 4096;

/// What is chosen for one module besides its code.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Calls reach the host with arguments as they come.
    pub raw_calls: bool,
    /// `eyot_alloc` answers what `aux` makes of the length.
    pub own_alloc: bool,
    /// There is an `eyot_init`, which calls `run`.
    pub init: bool,
    /// `eyot_handle` returns what `run` does.
    pub own_result: bool,
}

/// The module of a seed; none if wasm-smith makes nothing of it.
pub fn module(rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
    let mut choices = vec![0; CHOICES_BYTES];
    rng.fill(&mut choices);
    let memory = rng.choice(MEMORIES)?;
    let exports = wat::parse_str(format!(r#"(module (memory (export "memory") {memory}) {EXPORTS})"#)).unwrap();
    let config = config(rng, exports);
    let mut module = wasm_smith::Module::new(config, &mut Unstructured::new(&choices)).ok()?;
    let turns = rng.u32(1..2000);
    let fuel_global = module.ensure_termination(turns).ok()?;
    let shape = Shape {
        raw_calls: rng.u8(..8) == 0,
        own_alloc: rng.u8(..16) == 0,
        init: rng.u8(..3) == 0,
        own_result: rng.u8(..8) == 0,
    };
    Some(make_function(&module.to_bytes(), shape, fuel_global, rng.fork()))
}

fn config(rng: &mut fastrand::Rng, exports: Vec<u8>) -> wasm_smith::Config {
    wasm_smith::Config {
        exports: Some(exports),
        allow_start_export: false,
        disallow_traps: rng.u8(..4) > 0,
        max_instructions: rng.usize(20..300),
        max_funcs: rng.usize(10..24),
        max_imports: 0,
        max_globals: 12,
        max_tables: rng.usize(1..4),
        max_table_elements: 50,
        table_max_size_required: rng.bool(),
        max_element_segments: 6,
        max_elements: 20,
        max_data_segments: 6,
        max_types: 20,
        max_values: 6,
        min_uleb_size: rng.u8(1..6),
        memory_offset_choices: wasm_smith::MemoryOffsetChoices(90, 9, 1),
        // What functions may use, and no more.
        bulk_memory_enabled: true,
        reference_types_enabled: true,
        multi_value_enabled: true,
        sign_extension_ops_enabled: true,
        saturating_float_to_int_enabled: true,
        extended_const_enabled: true,
        max_memories: 0,
        max_tags: 0,
        memory64_enabled: false,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        wide_arithmetic_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        ..wasm_smith::Config::default()
    }
}

/// What the module is known to have.
#[derive(Default)]
pub struct Facts {
    /// Functions that call an import, with the number of that.
    calls: BTreeMap<u32, u32>,
    /// Type of each function type of the module, and of those of its own functions.
    types: Vec<parser::FuncType>,
    functions: Vec<u32>,
    /// Content and mutability.
    pub globals: Vec<(ValType, bool)>,
    pub tables: u32,
    run: u32,
    aux: u32,
}

fn facts(wasm: &[u8]) -> Facts {
    let mut facts = Facts::default();
    for payload in parser::Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            parser::Payload::TypeSection(section) => {
                facts.types = section.into_iter_err_on_gc_types().map(Result::unwrap).collect();
            }
            parser::Payload::FunctionSection(section) => {
                facts.functions = section.into_iter().map(Result::unwrap).collect()
            }
            parser::Payload::TableSection(section) => facts.tables = section.count(),
            parser::Payload::GlobalSection(section) => {
                let global = |global: parser::Global<'_>| (val_type(global.ty.content_type), global.ty.mutable);
                facts.globals = section.into_iter().map(|g| global(g.unwrap())).collect();
            }
            parser::Payload::ExportSection(section) => {
                for export in section {
                    let parser::Export { name, index, .. } = export.unwrap();
                    match (name, (0..).zip(IMPORTS).find(|(_, (import, _))| *import == name)) {
                        ("run", _) => facts.run = index,
                        ("aux", _) => facts.aux = index,
                        (_, Some((number, _))) => drop(facts.calls.insert(index, number)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    facts
}

pub fn val_type(ty: parser::ValType) -> ValType {
    struct Same;
    impl Reencode for Same {
        type Error = std::convert::Infallible;
    }
    Same.val_type(ty).unwrap()
}

/// Copies the module with what a function needs.
struct Maker {
    facts: Facts,
    shape: Shape,
    fuel_global: u32,
    /// Functions whose bodies were written.
    bodies: usize,
    rng: fastrand::Rng,
}

fn make_function(wasm: &[u8], shape: Shape, fuel_global: u32, rng: fastrand::Rng) -> Vec<u8> {
    let mut module = Module::new();
    let mut maker = Maker { facts: facts(wasm), shape, fuel_global, bodies: 0, rng };
    maker.parse_core_module(&mut module, parser::Parser::new(0), wasm).unwrap();
    module.finish()
}

/// Types that come after those of the module.
const TYPE_NONE: u32 = 0;
const TYPE_ONE: u32 = 1;
const TYPE_TWO: u32 = 2;
const TYPE_FOUR: u32 = 3;
const TYPE_LOG: u32 = 4;
const TYPE_NOW: u32 = 5;

impl Maker {
    fn own_type(&self, number: u32) -> u32 {
        self.facts.types.len() as u32 + number
    }

    fn results(&self, body: usize) -> Vec<ValType> {
        let ty = &self.facts.types[self.facts.functions[body] as usize];
        ty.results().iter().map(|ty| val_type(*ty)).collect()
    }

    /// One function, with an end for its loops and without what the engine does not let functions do.
    fn body(&mut self, from: &parser::FunctionBody<'_>) -> Result<Function, Failed> {
        let results = self.results(self.bodies);
        let mut to = self.new_function_with_parsed_locals(from)?;
        let operators = from.get_operators_reader()?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (mut grows, fuel_global) = (0, self.fuel_global);
        for (at, operator) in operators.iter().enumerate() {
            if self.rng.u32(..CALL_EVERY) == 0 {
                self.call_host(&mut to);
            }
            let before = &operators[at.saturating_sub(3)..at];
            match operator {
                Operator::Unreachable if is_out_of_turns(before, fuel_global) => {
                    for ty in &results {
                        to.instruction(&nothing(*ty));
                    }
                    to.instruction(&I::Return);
                }
                Operator::TableGrow { .. } => {
                    to.instruction(&I::Drop).instruction(&I::Drop).instruction(&I::I32Const(-1));
                }
                Operator::MemoryGrow { .. } if grows == GROWS_MAX => {
                    to.instruction(&I::Drop).instruction(&I::I32Const(-1));
                }
                operator => {
                    grows += u32::from(matches!(operator, Operator::MemoryGrow { .. }));
                    let instruction = self.instruction(operator.clone())?;
                    to.instruction(&instruction);
                }
            }
        }
        Ok(to)
    }

    /// Calls the host with numbers and bytes of memory; what it answers goes into memory.
    fn call_host(&mut self, to: &mut Function) {
        let (function, import) = *self.rng.choice(&self.facts.calls.iter().collect::<Vec<_>>()).unwrap();
        let (parameters, result) = match IMPORTS[*import as usize].1 {
            TYPE_NOW => (0, Some(ValType::I64)),
            TYPE_TWO => (2, Some(ValType::I32)),
            TYPE_LOG => (3, None),
            _ => (4, Some(ValType::I32)),
        };
        let any = MemArg { offset: 0, align: 0, memory_index: 0 };
        to.instruction(&I::I32Const(self.rng.i32(..0x8000) & 0x7fff));
        for _ in 0..parameters {
            match self.rng.u8(..4) {
                0 => to.instruction(&I::I32Const(self.rng.i32(..))),
                1 => to.instruction(&I::I32Const(self.rng.i32(0..0xff00))).instruction(&I::I32Load(any)),
                _ => to.instruction(&I::I32Const(self.rng.i32(0..0x400))),
            };
        }
        to.instruction(&I::Call(function + IMPORTS.len() as u32));
        match result {
            None => to.instruction(&I::Drop),
            Some(ValType::I64) => to.instruction(&I::I64Store(any)),
            Some(_) => to.instruction(&I::I32Store8(any)),
        };
    }
}

/// Whether wasm-smith's own check for loops that turn too often stands there.
fn is_out_of_turns(before: &[Operator<'_>], fuel_global: u32) -> bool {
    let [Operator::GlobalGet { global_index }, Operator::I32Eqz | Operator::I32GeU, Operator::If { .. }] = before
    else {
        return false;
    };
    *global_index == fuel_global
}

fn nothing(ty: ValType) -> I<'static> {
    match ty {
        ValType::I32 => I::I32Const(0),
        ValType::I64 => I::I64Const(0),
        ValType::F32 => I::F32Const(0.0.into()),
        ValType::F64 => I::F64Const(0.0.into()),
        ValType::Ref(ty) => I::RefNull(ty.heap_type),
        ValType::V128 => panic!("there are no vectors"),
    }
}

type Failed = Error<std::convert::Infallible>;

impl Reencode for Maker {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Failed> {
        Ok(function + IMPORTS.len() as u32)
    }

    fn parse_type_section(&mut self, to: &mut TypeSection, from: parser::TypeSectionReader<'_>) -> Result<(), Failed> {
        utils::parse_type_section(self, to, from)?;
        for params in [0, 1, 2, 4] {
            to.ty().function(vec![ValType::I32; params], [ValType::I32]);
        }
        to.ty().function([ValType::I32; 3], []);
        to.ty().function([], [ValType::I64]);
        Ok(())
    }

    /// wasm-smith's module has no imports; it may have a section for them.
    fn parse_import_section(
        &mut self,
        to: &mut ImportSection,
        _: parser::ImportSectionReader<'_>,
    ) -> Result<(), Failed> {
        for (name, ty) in IMPORTS {
            to.import("eyot", name, EntityType::Function(self.own_type(ty)));
        }
        Ok(())
    }

    fn intersperse_section_hook(
        &mut self,
        to: &mut Module,
        last: Option<SectionId>,
        next: Option<SectionId>,
    ) -> Result<(), Failed> {
        if next == Some(SectionId::Function) && last != Some(SectionId::Import) {
            let nothing = parser::BinaryReader::new(&[0], 0);
            let mut section = ImportSection::new();
            self.parse_import_section(&mut section, parser::ImportSectionReader::new(nothing)?)?;
            to.section(&section);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        to: &mut FunctionSection,
        from: parser::FunctionSectionReader<'_>,
    ) -> Result<(), Failed> {
        utils::parse_function_section(self, to, from)?;
        for ty in [TYPE_NONE, TYPE_ONE, TYPE_FOUR, TYPE_NONE] {
            to.function(self.own_type(ty));
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        to: &mut ExportSection,
        _: parser::ExportSectionReader<'_>,
    ) -> Result<(), Failed> {
        to.export("memory", ExportKind::Memory, 0);
        let names = ["eyot_abi", "eyot_alloc", "eyot_handle", "eyot_init"];
        let exports = names.len() - usize::from(!self.shape.init);
        let first = (IMPORTS.len() + self.facts.functions.len()) as u32;
        for (number, name) in (first..).zip(names).take(exports) {
            to.export(name, ExportKind::Func, number);
        }
        Ok(())
    }

    fn parse_function_body(&mut self, to: &mut CodeSection, from: parser::FunctionBody<'_>) -> Result<(), Failed> {
        let body = match self.facts.calls.get(&(self.bodies as u32)) {
            Some(import) => shell::call(*import, self.shape.raw_calls),
            None => self.body(&from)?,
        };
        self.bodies += 1;
        to.function(&body);
        Ok(())
    }

    fn parse_code_section(&mut self, to: &mut CodeSection, from: parser::CodeSectionReader<'_>) -> Result<(), Failed> {
        utils::parse_code_section(self, to, from)?;
        let [run, aux] = [self.facts.run, self.facts.aux].map(|function| function + IMPORTS.len() as u32);
        to.function(&shell::abi());
        to.function(&shell::alloc(self.shape.own_alloc.then_some(aux)));
        to.function(&shell::handle(run, &self.facts, self.shape.own_result));
        to.function(&shell::init(run));
        Ok(())
    }
}

//! wasmi's configuration, and the check of imports and exports against function interface version 1.

use alloc::string::ToString;

use eyot_wire::module::{EXPORT_ABI, EXPORT_ALLOC, EXPORT_HANDLE, EXPORT_INIT, EXPORT_MEMORY, EXPORT_MIGRATE};
use wasmi::{
    CompilationMode, Config, CustomFuelCosts, EnforcedLimits, Engine, ExternType, FuncType, Linker, Module,
    OperatorCost, ValType,
};

use crate::error::LoadError;
use crate::host::{self, Host};
use crate::limits::{StackLimits, BULK_BYTES_PER_FUEL, BULK_FUEL, CALLS_MAX, CALL_FUEL, GROW_FUEL, ROUND_FUEL};
use crate::rewrite;
use crate::scan::Facts;
use crate::selects;

/// Value stack a fresh instance starts with, in bytes.
const STACK_START_BYTES: usize = 1024;

/// A module ready to be instantiated. The engine is its own: wasmi frees code only with the engine.
pub(crate) struct Compiled {
    pub(crate) engine: Engine,
    pub(crate) module: Module,
    pub(crate) linker: Linker<Host>,
}

/// What costs so much more time than other instructions that a function could live on it costs more fuel.
fn operator_cost() -> OperatorCost {
    OperatorCost {
        memory_grow: GROW_FUEL,
        table_grow: GROW_FUEL,
        call: CALL_FUEL,
        call_indirect: CALL_FUEL,
        memory_copy: BULK_FUEL,
        memory_fill: BULK_FUEL,
        memory_init: BULK_FUEL,
        table_copy: BULK_FUEL,
        table_fill: BULK_FUEL,
        table_init: BULK_FUEL,
        f32_ceil: ROUND_FUEL,
        f32_floor: ROUND_FUEL,
        f32_trunc: ROUND_FUEL,
        f32_nearest: ROUND_FUEL,
        f32_sqrt: ROUND_FUEL,
        f64_ceil: ROUND_FUEL,
        f64_floor: ROUND_FUEL,
        f64_trunc: ROUND_FUEL,
        f64_nearest: ROUND_FUEL,
        f64_sqrt: ROUND_FUEL,
        ..OperatorCost::default()
    }
}

fn config(stack: StackLimits) -> Config {
    let bulk = CustomFuelCosts {
        bytes_copied_per_fuel: BULK_BYTES_PER_FUEL,
        // Never charged: a module is compiled as a whole, at load.
        fuel_per_bytes_translated: 0,
        fuel_per_bytes_validated: 0,
    };
    let mut config = Config::default();
    config
        .consume_fuel(true)
        .operator_cost(operator_cost())
        .fuel_cost(bulk)
        .compilation_mode(CompilationMode::Eager)
        .enforced_limits(EnforcedLimits::strict())
        .allow_start_fn(false)
        .ignore_custom_sections(true)
        .set_max_recursion_depth(stack.calls.min(CALLS_MAX))
        .set_min_stack_height(stack.values_bytes.min(STACK_START_BYTES))
        .set_max_stack_height(stack.values_bytes)
        .set_max_cached_stacks(1)
        .wasm_custom_page_sizes(true)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_wide_arithmetic(false);
    config
}

/// Validates, checks and compiles a scanned module.
pub(crate) fn compile(wasm: &[u8], facts: &Facts<'_>, stack: StackLimits) -> Result<Compiled, LoadError> {
    let engine = Engine::new(&config(stack));
    let rewritten = rewrite::export_globals(wasm, facts);
    let wasm = rewritten.as_deref().unwrap_or(wasm);
    let parted = if facts.has_bad_selects { Some(selects::part(wasm)?) } else { None };
    let wasm = parted.as_deref().unwrap_or(wasm);
    // wasmi translates each instruction once that one is validated, and panics on some that come after the end of their
    // function, which is found only later. So nothing is translated before all of it is valid.
    Module::validate(&engine, wasm).map_err(invalid)?;
    let module = Module::new(&engine, wasm).map_err(invalid)?;
    check_exports(&module)?;
    let linker = host::linker(&engine).map_err(|e| LoadError::Instantiate(e.to_string()))?;
    check_imports(&module)?;
    Ok(Compiled { engine, module, linker })
}

fn invalid(error: wasmi::Error) -> LoadError {
    LoadError::Invalid(error.to_string())
}

fn is(ty: &FuncType, params: &[ValType], results: &[ValType]) -> bool {
    ty.params() == params && ty.results() == results
}

fn check_exports(module: &Module) -> Result<(), LoadError> {
    use ValType::I32;
    match module.get_export(EXPORT_MEMORY) {
        Some(ExternType::Memory(_)) => {}
        Some(_) => return Err(LoadError::ExportType { name: EXPORT_MEMORY, expected: "a memory" }),
        None => return Err(LoadError::MissingExport { name: EXPORT_MEMORY }),
    }
    let functions: [(&'static str, usize, &'static str); 5] = [
        (EXPORT_ABI, 0, "() -> i32"),
        (EXPORT_ALLOC, 1, "(i32) -> i32"),
        (EXPORT_HANDLE, 4, "(i32, i32, i32, i32) -> i32"),
        (EXPORT_INIT, 0, "() -> i32"),
        (EXPORT_MIGRATE, 1, "(i32) -> i32"),
    ];
    for (name, params, expected) in functions {
        let params = [I32; 4].get(..params).unwrap_or_default();
        match module.get_export(name) {
            Some(ExternType::Func(ty)) if is(&ty, params, &[I32]) => {}
            Some(_) => return Err(LoadError::ExportType { name, expected }),
            None if name == EXPORT_INIT || name == EXPORT_MIGRATE => {}
            None => return Err(LoadError::MissingExport { name }),
        }
    }
    Ok(())
}

fn check_imports(module: &Module) -> Result<(), LoadError> {
    use ValType::{I32, I64};
    for import in module.imports() {
        let name = import.name();
        let (params, results): (usize, &[ValType]) = match name {
            "emit" | "state_get" | "state_set" | "config_get" => (4, &[I32]),
            "log" => (3, &[]),
            "now_ms" => (0, &[I64]),
            _ => (2, &[I32]),
        };
        let params = [I32; 4].get(..params).unwrap_or_default();
        match import.ty() {
            ExternType::Func(ty) if is(ty, params, results) => {}
            _ => return Err(LoadError::ImportType { name: name.to_string() }),
        }
    }
    Ok(())
}

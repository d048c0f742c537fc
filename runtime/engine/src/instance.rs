//! One running instance of the module: how it starts.

use alloc::format;
use alloc::string::ToString;
use core::mem;

use eyot_wire::code::Failure;
use eyot_wire::module::{
    ABI_VERSION, EXPORT_ABI, EXPORT_ALLOC, EXPORT_HANDLE, EXPORT_INIT, EXPORT_MEMORY, EXPORT_MIGRATE,
};
use wasmi::errors::{ErrorKind, InstantiationError};
use wasmi::{Error, Instance, Memory, Store, TrapCode, TypedFunc, TypedResumableCall, WasmParams};

use crate::compile::Compiled;
use crate::error::LoadError;
use crate::growth::Growth;
use crate::host::Host;
use crate::limits::INIT_FUEL;
use crate::meter::Meter;
use crate::snapshot::{ResetPlan, Snapshot};

/// Handles into the current store, and what it looked like once started.
pub(crate) struct Live {
    pub(crate) memory: Memory,
    pub(crate) alloc: TypedFunc<i32, i32>,
    pub(crate) handle: TypedFunc<(i32, i32, i32, i32), i32>,
    /// Fuel that it took to start.
    pub(crate) start_fuel: u64,
    pub(crate) migrate: Option<TypedFunc<i32, i32>>,
    snapshot: Option<Snapshot>,
}

impl Live {
    /// Puts the instance back to how it was once started. `false`: only a fresh instance will do.
    pub(crate) fn restore(&self, store: &mut Store<Host>) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.restore(store, self.memory))
    }
}

/// Replaces the store by a fresh one that keeps the host, and starts an instance in it.
pub(crate) fn start(store: &mut Store<Host>, compiled: &Compiled, plan: &ResetPlan) -> Result<Live, LoadError> {
    renew(store, compiled);
    let instance = compiled.linker.instantiate_and_start(&mut *store, &compiled.module).map_err(instantiate_error)?;
    let memory = instance.get_memory(&*store, EXPORT_MEMORY).ok_or(LoadError::MissingExport { name: EXPORT_MEMORY })?;
    store.data_mut().memory = Some(memory);
    let version = call_first(store, &instance, EXPORT_ABI)?;
    if version != ABI_VERSION {
        return Err(LoadError::Abi { version });
    }
    if instance.get_func(&*store, EXPORT_INIT).is_some() {
        match call_first(store, &instance, EXPORT_INIT)? {
            0 => {}
            code => return Err(LoadError::Init(Failure::Code(code))),
        }
    }
    Ok(Live {
        memory,
        alloc: instance.get_typed_func(&*store, EXPORT_ALLOC).map_err(instantiate_error)?,
        handle: instance.get_typed_func(&*store, EXPORT_HANDLE).map_err(instantiate_error)?,
        start_fuel: store.data().meter.spent(),
        migrate: instance.get_typed_func(&*store, EXPORT_MIGRATE).ok(),
        snapshot: Snapshot::take(store, &instance, memory, plan),
    })
}

/// An instance is freed only with its store, so a store has exactly one.
fn renew(store: &mut Store<Host>, compiled: &Compiled) {
    let mut host = mem::take(store.data_mut());
    host.memory = None;
    host.message = None;
    host.growth = Growth::new(&host.limits);
    host.meter = Meter::new(INIT_FUEL);
    *store = Store::new(&compiled.engine, host);
    store.limiter(|host| &mut host.growth);
}

fn instantiate_error(error: Error) -> LoadError {
    LoadError::Instantiate(match error.kind() {
        // wasmi's own words are the inside of its table.
        ErrorKind::Instantiation(InstantiationError::ElementSegmentDoesNotFit { table_index, len, .. }) => {
            format!("an element segment of {len} from {table_index} on does not fit its table")
        }
        _ => error.to_string(),
    })
}

/// Calls one of the exports that run before any message.
fn call_first(store: &mut Store<Host>, instance: &Instance, name: &'static str) -> Result<i32, LoadError> {
    let function: TypedFunc<(), i32> = instance.get_typed_func(&*store, name).map_err(instantiate_error)?;
    call(store, &function, ()).map_err(LoadError::Init)
}

/// Calls an export to its end, in slices like any other code of the module.
pub(crate) fn call<P: WasmParams>(
    store: &mut Store<Host>,
    function: &TypedFunc<P, i32>,
    params: P,
) -> Result<i32, Failure> {
    grant(store, 0)?;
    let mut outcome = function.call_resumable(&mut *store, params);
    loop {
        settle(store);
        match outcome {
            Ok(TypedResumableCall::Finished(result)) => return Ok(result),
            Ok(TypedResumableCall::HostTrap(_)) => return Err(Failure::Fuel),
            Ok(TypedResumableCall::OutOfFuel(paused)) => {
                grant(store, paused.required_fuel())?;
                outcome = paused.resume(&mut *store);
            }
            Err(error) => return Err(failure(&error, store.data().growth.refused)),
        }
    }
}

/// Fuel for the next slice.
fn grant(store: &mut Store<Host>, required: u64) -> Result<(), Failure> {
    let fuel = store.data_mut().meter.grant(required).ok_or(Failure::Fuel)?;
    store.set_fuel(fuel).map_err(|e| Failure::Trap(e.to_string()))
}

/// Counts what the last slice used.
pub(crate) fn settle(store: &mut Store<Host>) {
    let left = store.get_fuel().unwrap_or(0);
    store.data_mut().meter.settle(left);
}

/// What a trap means to the sender of the message.
pub(crate) fn failure(error: &Error, growth_refused: bool) -> Failure {
    match error.as_trap_code() {
        Some(TrapCode::OutOfFuel) => Failure::Fuel,
        Some(TrapCode::GrowthOperationLimited | TrapCode::OutOfSystemMemory) => Failure::Memory,
        // An allocator that gets no memory ends in `unreachable`.
        Some(TrapCode::UnreachableCodeReached) if growth_refused => Failure::Memory,
        _ => Failure::Trap(error.to_string()),
    }
}

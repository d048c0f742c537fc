//! Messages through wasmtime: each in an instance of its own, so that there is nothing to reset.

use std::collections::BTreeMap;

use wasmtime::{Config, Engine, InstancePre, Linker, Module, OptLevel, Store, Strategy, Trap};

use crate::host::{self, Host};
use crate::seen::{End, Limits, Message, Refusal, Seen, TOPIC};

/// More than our engine's stacks hold, so that it is the first to have enough.
const STACK_BYTES: usize = 4 << 20;

/// The runtime, shared by all modules.
pub struct Reference {
    engine: Engine,
    linker: Linker<Host>,
}

/// A module in it.
pub struct Function {
    engine: Engine,
    instance: InstancePre<Host>,
    limits: Limits,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Host calls so far.
    pub calls: u64,
}

impl Reference {
    pub fn new() -> Self {
        let mut config = Config::new();
        config
            .strategy(Strategy::Cranelift)
            .cranelift_opt_level(OptLevel::None)
            // Ours has the same NaN on every processor; with this the other one has that NaN too.
            .cranelift_nan_canonicalization(true)
            .max_wasm_stack(STACK_BYTES)
            // Cheap to make: nothing reserved, nothing mapped twice, and traps are checks.
            .signals_based_traps(false)
            .memory_reservation(0)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0)
            .memory_init_cow(false)
            .wasm_backtrace(false)
            // What functions may use.
            .wasm_custom_page_sizes(true)
            .wasm_reference_types(true)
            .wasm_extended_const(true)
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .wasm_simd(false)
            .wasm_relaxed_simd(false)
            .wasm_tail_call(false);
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).unwrap();
        Self { engine, linker }
    }

    pub fn load(&self, wasm: &[u8], limits: &Limits) -> Result<Function, Refusal> {
        let module = Module::new(&self.engine, wasm).map_err(|error| Refusal::Invalid(format!("{error:#}")))?;
        let instance = self.linker.instantiate_pre(&module).map_err(|error| Refusal::Ours(error.to_string()))?;
        let function =
            Function { engine: self.engine.clone(), instance, limits: *limits, state: BTreeMap::new(), calls: 0 };
        function.start().map(|_| ())?;
        Ok(function)
    }
}

type Started = (Store<Host>, wasmtime::Instance);

impl Function {
    fn start(&self) -> Result<Started, Refusal> {
        let mut store = Store::new(&self.engine, Host::new(self.limits, self.state.clone()));
        store.limiter(|host| host);
        let instance = self.instance.instantiate(&mut store).map_err(|_| Refusal::Instantiate)?;
        for name in ["eyot_abi", "eyot_init"] {
            let Ok(function) = instance.get_typed_func::<(), i32>(&mut store, name) else { continue };
            match function.call(&mut store, ()) {
                Ok(1) if name == "eyot_abi" => {}
                Ok(0) if name == "eyot_init" => {}
                Ok(code) if name == "eyot_init" => return Err(Refusal::Start(End::Code(code))),
                Ok(_) => return Err(Refusal::Ours("abi".to_owned())),
                Err(error) => return Err(Refusal::Start(end(&error, store.data().growth_refused))),
            }
        }
        Ok((store, instance))
    }

    pub fn invoke(&mut self, message: &Message) -> Seen {
        let (mut store, instance) = self.start().unwrap_or_else(|error| panic!("it started before: {error:?}"));
        store.data_mut().begin(message);
        let end = run(&mut store, &instance, message);
        let host = store.data_mut();
        self.calls += host.calls;
        if let End::Done { .. } = end {
            self.state = host.after();
        } else {
            host.emits.clear();
            host.state_ops.clear();
        }
        Seen {
            end,
            emits: std::mem::take(&mut host.emits),
            state_ops: std::mem::take(&mut host.state_ops),
            logs: std::mem::take(&mut host.logs),
            logs_dropped: host.logs_dropped,
            refused: host.refused,
            state: self.state.clone(),
        }
    }
}

fn run(store: &mut Store<Host>, instance: &wasmtime::Instance, message: &Message) -> End {
    let input = [TOPIC.as_bytes(), &message.payload].concat();
    let alloc = instance.get_typed_func::<i32, i32>(&mut *store, "eyot_alloc").unwrap();
    let ptr = match alloc.call(&mut *store, input.len() as i32) {
        Ok(0) => return End::Memory,
        Ok(ptr) => ptr,
        Err(error) => return end(&error, store.data().growth_refused),
    };
    let memory = instance.get_memory(&mut *store, "memory").unwrap();
    if memory.write(&mut *store, ptr as u32 as usize, &input).is_err() {
        return End::BadAlloc;
    }
    let handle = instance.get_typed_func::<(i32, i32, i32, i32), i32>(&mut *store, "eyot_handle").unwrap();
    let topic_len = TOPIC.len() as i32;
    let params = (ptr, topic_len, ptr.wrapping_add(topic_len), message.payload.len() as i32);
    match handle.call(&mut *store, params) {
        Ok(0) => End::Done { memory_bytes: memory.data_size(&*store), random_used: store.data().random_used() },
        Ok(code) => End::Code(code),
        Err(error) => end(&error, store.data().growth_refused),
    }
}

/// A trap by wasmi's words.
fn end(error: &wasmtime::Error, growth_refused: bool) -> End {
    let words = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => return End::Stack,
        Some(Trap::UnreachableCodeReached) if growth_refused => return End::Memory,
        Some(Trap::UnreachableCodeReached) => "wasm `unreachable` instruction executed",
        Some(Trap::MemoryOutOfBounds) => "out of bounds memory access",
        Some(Trap::TableOutOfBounds) => "undefined element: out of bounds table access",
        Some(Trap::IndirectCallToNull) => "uninitialized element 2",
        Some(Trap::IntegerDivisionByZero) => "integer divide by zero",
        Some(Trap::IntegerOverflow) => "integer overflow",
        Some(Trap::BadConversionToInteger) => "invalid conversion to integer",
        Some(Trap::BadSignature) => "indirect call type mismatch",
        _ => panic!("no generated function ends like this: {error:?}"),
    };
    End::Trap(words.to_owned())
}

//! Measures what functions take of this processor, and says it on UART 0, a line for each.
//!
//! Under `qemu-system-arm -icount shift=0` an instruction takes a nanosecond, so that a millisecond is a million of them:
//! `qemu-system-arm -machine mps2-an505 -icount shift=0 -display none -monitor none -serial stdio -kernel F`
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use embedded_io::Write;
use eyot_mps2_an505::board::Mps2;
use eyot_mps2_an505::uart::Uart;
use eyot_node::invoke::Program;
use eyot_node::{Board, Limits, NodeLimits, Sample, Sensor, StackLimits};

const INSTRUCTIONS_PER_MS: u64 = 1_000_000;

/// A function, and how often it is loaded and run.
struct Subject {
    name: &'static str,
    module: &'static [u8],
    loads: u64,
    messages: u64,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "small",
        module: include_bytes!(concat!(env!("OUT_DIR"), "/small.wasm")),
        loads: 1000,
        messages: 20_000,
    },
    Subject {
        name: "alarm",
        module: include_bytes!("../../../../functions/alarm/alarm.wasm"),
        loads: 10,
        messages: 1000,
    },
    Subject {
        name: "celsius",
        module: include_bytes!("../../../../functions/celsius/celsius.wasm"),
        loads: 10,
        messages: 1000,
    },
];

#[entry]
fn main() -> ! {
    let (mut board, mut line) = (Mps2::start(), Uart::start());
    for subject in &SUBJECTS {
        if measure(subject, &mut board, &mut line).is_none() {
            let _ = writeln!(line, "{}: failed", subject.name);
        }
    }
    let _ = writeln!(line, "end");
    loop {
        board.alive();
        cortex_m::asm::wfi();
    }
}

/// None if the function is refused, or fails.
fn measure(subject: &Subject, board: &mut Mps2, line: &mut Uart) -> Option<()> {
    let limits = include!(concat!(env!("OUT_DIR"), "/limits.rs"));
    let Subject { name, module, loads, messages } = subject;
    let (mut program, mut sample) = (Program::new(limits), Sample::new());
    let (before, started_ms) = (board.heap().0, board.uptime_ms());
    for _ in 0..*loads {
        board.alive();
        program.remove();
        program.load(module, [0; 32]).ok()?;
    }
    let (load_ms, heap_bytes) = (board.uptime_ms() - started_ms, board.heap().0 - before);
    eyot_mps2_an505::sensor::Simulated::default().sample(&mut sample).ok()?;
    let message = eyot_engine::Invocation { topic: "sensors/sim/raw", payload: sample.as_bytes(), now_ms: 0, seed: 1 };
    let started_ms = board.uptime_ms();
    for _ in 0..*messages {
        board.alive();
        program.run(&message, board)?.ok()?;
    }
    let run_ms = board.uptime_ms() - started_ms;
    writeln!(
        line,
        "{name}: {} bytes, {heap_bytes} of heap, {} instructions to load, {} a message, {} of fuel",
        module.len(),
        load_ms * INSTRUCTIONS_PER_MS / loads,
        run_ms * INSTRUCTIONS_PER_MS / messages,
        program.fuel()
    )
    .ok()
}

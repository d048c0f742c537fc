//! State that survives a reset, where the board has a keeper.

use eyot_engine::State;
use eyot_node::keep::{NotKept, KEEP_EVERY_MS};
use eyot_node::{Channel, Keeper};
use eyot_wire::link::ToNode;

use crate::bench::{limits, node, Bench, Counter, Said};
use crate::function::{install, module, sha};

/// Keeps the last payload under one byte.
const LAST: &str = "(drop (call $set (i32.const 16) (i32.const 1) (local.get 2) (local.get 3))) (i32.const 0)";

#[derive(Default)]
struct Memory {
    kept: Option<([u8; 32], State)>,
    times: u32,
    fails: bool,
}

impl Keeper for Memory {
    fn load(&mut self, sha256: &[u8; 32]) -> Option<State> {
        self.kept.as_ref().filter(|(of, _)| of == sha256).map(|(_, state)| state.clone())
    }

    fn keep(&mut self, sha256: &[u8; 32], state: &State) -> Result<(), NotKept> {
        self.times += 1;
        if self.fails {
            return Err(NotKept);
        }
        self.kept = Some((*sha256, state.clone()));
        Ok(())
    }
}

/// Runs a node that starts anew, with the module: what its state is at its start and at its end.
fn run(memory: &mut Memory, wasm: &[u8], waits_ms: &[u64], last: impl Fn(&Bench)) -> [Option<Vec<u8>>; 2] {
    let bench = Bench::default();
    let mut counter = Counter(bench.clone(), 0);
    let mut channels = [Channel::new("sensors/1/raw", 100, &mut counter)];
    let mut node = node(&bench, limits(), &mut channels).with_keeper(memory);
    bench.welcome(7, 0);
    node.turn().unwrap();
    install(&bench, || node.turn().unwrap(), wasm);
    let first = node.program().state().and_then(|(_, state)| state.get(b"o").map(<[u8]>::to_vec));
    for wait_ms in waits_ms {
        bench.wait_ms(*wait_ms);
        node.turn().unwrap();
    }
    // A gateway that was silent for so long is gone.
    bench.welcome(7, 0);
    node.turn().unwrap();
    last(&bench);
    node.turn().unwrap();
    [first, node.program().state().and_then(|(_, state)| state.get(b"o").map(<[u8]>::to_vec))]
}

#[test]
fn the_state_of_before_is_there_again_and_no_more_is_written_than_it_must() {
    let (mut memory, wasm) = (Memory::default(), module(LAST, ""));
    let n = |number| Some(format!("{{\"n\":{number}}}").into_bytes());
    let nothing = |_: &Bench| ();
    let every = KEEP_EVERY_MS;
    assert_eq!(run(&mut memory, &wasm, &[100, every, 100], nothing), [None, n(4)]);
    assert_eq!(memory.times, 1, "once in so long");
    assert_eq!(run(&mut memory, &wasm, &[100], nothing), [n(3), n(2)], "as it was kept, and then its own");
    assert_eq!(run(&mut memory, &module(LAST, "[config]"), &[100], nothing)[0], None, "of another module");
    let still = |bench: &Bench| {
        bench.sensor_fails(true);
        bench.wait_ms(every);
    };
    assert_eq!(run(&mut memory, &wasm, &[], still)[0], n(3));
    assert_eq!(memory.times, 1, "it did not change");
}

#[test]
fn what_a_function_kept_goes_with_it() {
    let (mut memory, wasm) = (Memory::default(), module(LAST, ""));
    run(&mut memory, &wasm, &[KEEP_EVERY_MS], |bench| bench.say(&ToNode::Remove));
    assert_eq!(memory.load(&sha(&wasm)), None);
    assert_eq!(run(&mut memory, &wasm, &[], |_| ())[0], None);
}

#[test]
fn a_flash_that_fails_is_told_and_stops_nothing() {
    let (mut memory, wasm) = (Memory { fails: true, ..Memory::default() }, module(LAST, ""));
    let told = |bench: &Bench| {
        let is_told = |said: &Said| matches!(said, Said::Log(1, text) if text.contains("not kept"));
        assert!(bench.heard().iter().any(is_told));
    };
    let last = run(&mut memory, &wasm, &[KEEP_EVERY_MS], told);
    assert!(last[1].is_some());
}

//! One fixed history, repeated with each call to the disk failing in turn.

use std::io;

use eyot_spool::memory::{Fault, Operation};

use crate::model::Check;
use crate::world::World;

const SEED: u64 = 11;
const STEPS: usize = 160;

fn run(world: &mut World) -> Check {
    world.open()?;
    for _ in 0..STEPS {
        world.step()?;
    }
    world.crash()?;
    world.finish()
}

fn faults(operation: Operation) -> Vec<Fault> {
    let mut faults = vec![Fault::Error(io::ErrorKind::Other), Fault::Error(io::ErrorKind::StorageFull)];
    match operation {
        Operation::WriteAt => faults.push(Fault::ShortWrite),
        Operation::SyncData => faults.push(Fault::FailedSync),
        _ => {}
    }
    faults
}

#[test]
fn any_one_failed_call_costs_nothing_that_was_promised() {
    let mut calm = World::calm(SEED);
    run(&mut calm).unwrap_or_else(|reason| panic!("without faults: {reason}\n  {}", calm.history()));
    let mut runs = 0;
    for operation in Operation::ALL {
        let calls = calm.storage.calls(operation);
        assert!(calls > 0, "the history never calls {operation:?}");
        for nth in 1..=calls {
            for fault in faults(operation) {
                let mut world = World::calm(SEED);
                world.arm_once(operation, nth, fault);
                let result = run(&mut world);
                runs += 1;
                if let Err(reason) = result {
                    panic!("{operation:?} call {nth} with {fault:?}: {reason}\nafter\n  {}", world.history());
                }
            }
        }
    }
    println!("{runs} runs");
}

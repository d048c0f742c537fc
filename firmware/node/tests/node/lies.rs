//! A gateway that lies: sizes, places and numbers that cannot be, in any order, with what is no line at all between them.

use eyot_node::Channel;
use eyot_wire::link::{ToNode, CHUNK_MAX_BYTES};

use crate::bench::{limits, node, Bench, Counter, Said};
use crate::function::{install, module, ECHO};
use crate::update::{begin, sha, Memory, SLOT_BYTES};

const STEPS: usize = 3000;
/// At edges: of nothing, of a piece, of a chunk, of a slot, of what a number can be.
const NUMBERS: [u32; 10] = [0, 1, 31, 32, 512, SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 1, u32::MAX - 1, u32::MAX];

/// One lie.
fn lie(bench: &Bench, random: &mut fastrand::Rng) {
    let number = NUMBERS[random.usize(..NUMBERS.len())];
    let sha256 = [[1; 32], [2; 32], sha(b"what comes")][random.usize(..3)];
    let bytes: Vec<u8> = (0..random.usize(..=CHUNK_MAX_BYTES)).map(|_| random.u8(..)).collect();
    let session = [0, 7, 8, u32::MAX][random.usize(..4)];
    let unix_ms = [i64::MIN, -1, 0, i64::MAX][random.usize(..4)];
    match random.u8(..9) {
        0 => bench.say(&ToNode::Begin { sha256, bytes: number }),
        1 => bench.say(&ToNode::BeginProgram { sha256, bytes: number }),
        2..=4 => bench.say(&ToNode::Chunk { sha256, offset: number, bytes: &bytes }),
        5 => bench.say(&ToNode::Welcome { session, acked: number, unix_ms }),
        6 => bench.say(&ToNode::Ack { session, seq: number, unix_ms }),
        7 => bench.say([&ToNode::Remove, &ToNode::Who][random.usize(..2)]),
        _ => bench.send(&bytes),
    }
}

#[test]
fn whatever_a_gateway_says_a_node_goes_on_and_starts_nothing_that_is_not_whole() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut memory, bench) = (Memory::default(), Bench::default());
    let mut counter = Counter(bench.clone(), 0);
    let mut channels = [Channel::new("sensors/1/raw", 100, &mut counter)];
    let mut node = node(&bench, limits(), &mut channels).with_slots(&mut memory);
    bench.welcome(7, 0);
    for _ in 0..STEPS {
        lie(&bench, &mut random);
        bench.wait_ms(random.u64(..200));
        node.turn().unwrap();
        bench.take_bytes();
        assert!(node.ledger().balances() && node.program().sha256().is_none(), "seed {seed}");
    }
    assert!(node.ledger().samples > 100, "seed {seed}: it did not go on");
    // One that tells the truth finds it well.
    bench.send(&[0]);
    bench.welcome(7, 0);
    let module = module(ECHO, "");
    let said = install(&bench, || node.turn().unwrap(), &module);
    assert_eq!(said.last(), Some(&Said::Done), "seed {seed}");
    let program = vec![5; CHUNK_MAX_BYTES];
    bench.say(&begin(&program));
    bench.say(&ToNode::Chunk { sha256: sha(&program), offset: 0, bytes: &program });
    node.turn().unwrap();
    drop(node);
    assert!(memory.is_ready && memory.beside == program, "seed {seed}");
}

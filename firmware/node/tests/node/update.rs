//! A program of its own that comes over the line, where the board has slots.

use eyot_node::update::{SlotError, KEPT_AFTER_MS, PIECE_MULTIPLE_BYTES, RESTART_WITHIN_MS, TRIAL_MAX_MS};
use eyot_node::{Channel, Slots};
use eyot_wire::link::{ToNode, CHUNK_MAX_BYTES, SILENCE_MAX_MS};
use sha2::{Digest, Sha256};

use crate::bench::{limits, node, Bench, Counter, Said};

pub const SLOT_BYTES: u32 = 4096;

/// Slots whose boot loader the test is.
#[derive(Default)]
pub struct Memory {
    running: Option<[u8; 32]>,
    returned: Option<[u8; 32]>,
    is_on_trial: bool,
    pub beside: Vec<u8>,
    pub is_ready: bool,
    fails: bool,
    restarts: u32,
}

impl Slots for Memory {
    fn max_bytes(&self) -> u32 {
        SLOT_BYTES
    }

    fn running(&mut self) -> Option<[u8; 32]> {
        self.running
    }

    fn has_returned(&mut self, sha256: &[u8; 32]) -> bool {
        self.returned == Some(*sha256)
    }

    fn is_on_trial(&mut self) -> bool {
        self.is_on_trial
    }

    fn write(&mut self, offset: u32, piece: &[u8]) -> Result<(), SlotError> {
        if offset == 0 {
            self.beside.clear();
        }
        assert_eq!(self.beside.len(), offset as usize, "not in order");
        assert!(self.beside.len().is_multiple_of(PIECE_MULTIPLE_BYTES), "a piece before was of another length");
        self.beside.extend_from_slice(piece);
        assert!(self.beside.len() <= SLOT_BYTES as usize);
        if self.fails {
            Err(SlotError)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self, sha256: &[u8; 32], bytes: u32) -> Result<bool, SlotError> {
        self.is_ready = self.beside.len() == bytes as usize && sha(&self.beside) == *sha256;
        Ok(self.is_ready)
    }

    fn keep(&mut self) -> Result<(), SlotError> {
        self.is_on_trial = false;
        Ok(())
    }

    fn restart(&mut self) {
        assert!(self.is_ready || self.is_on_trial, "there is nothing to start");
        self.restarts += 1;
    }
}

pub fn sha(program: &[u8]) -> [u8; 32] {
    Sha256::digest(program).into()
}

fn program() -> Vec<u8> {
    (0..CHUNK_MAX_BYTES * 2 + 100).map(|index| index as u8).collect()
}

pub fn begin(program: &[u8]) -> ToNode<'static> {
    ToNode::BeginProgram { sha256: sha(program), bytes: program.len() as u32 }
}

/// What the node says of modules and programs.
fn said(bench: &Bench) -> Vec<Said> {
    let all = bench.heard().into_iter();
    all.filter(|said| matches!(said, Said::Wants(_) | Said::Done | Said::Refused(_))).collect()
}

/// A node with these slots that is welcome, in the hands of `run`.
fn with_node(memory: &mut Memory, run: impl FnOnce(&Bench, &mut dyn FnMut())) {
    let bench = Bench::default();
    let mut counter = Counter(bench.clone(), 0);
    let mut channels = [Channel::new("sensors/1/raw", 100, &mut counter)];
    let mut node = node(&bench, limits(), &mut channels).with_slots(memory);
    bench.welcome(7, 0);
    run(&bench, &mut || node.turn().unwrap());
}

/// Sends what the node asks for, in chunks of these lengths in turn, until it asks for no more.
fn send(bench: &Bench, turn: &mut dyn FnMut(), program: &[u8], lengths: &[usize]) -> Vec<Said> {
    bench.say(&begin(program));
    for len in lengths.iter().cycle() {
        turn();
        let answer = said(bench);
        let Some(Said::Wants(offset)) = answer.last() else { return answer };
        let rest = &program[*offset as usize..];
        bench.say(&ToNode::Chunk { sha256: sha(program), offset: *offset, bytes: &rest[..rest.len().min(*len)] });
    }
    unreachable!("lengths are given")
}

#[test]
fn a_program_is_started_when_its_node_has_nothing_left_to_say() {
    let (mut memory, program) = (Memory::default(), program());
    with_node(&mut memory, |bench, turn| {
        turn();
        assert_eq!(send(bench, turn, &program, &[CHUNK_MAX_BYTES, 33, 100, 500]), []);
        bench.say(&begin(&program));
        turn();
        assert_eq!(said(bench), [], "it is spoken of when it is known how it ends");
    });
    assert_eq!((memory.is_ready, memory.restarts), (true, 0), "a reading is not acknowledged");
    assert_eq!(memory.beside, program);
    with_node(&mut memory, |bench, turn| {
        send(bench, turn, &program, &[CHUNK_MAX_BYTES]);
        bench.ack(7, 1);
        turn();
    });
    assert_eq!(memory.restarts, 1, "all is acknowledged");
    with_node(&mut memory, |bench, turn| {
        send(bench, turn, &program, &[CHUNK_MAX_BYTES]);
        bench.wait_ms(RESTART_WITHIN_MS);
        turn();
    });
    assert_eq!(memory.restarts, 2, "nobody acknowledges");
}

#[test]
fn a_program_comes_in_order_whatever_is_doubled_too_long_or_of_another() {
    let (mut memory, program) = (Memory::default(), program());
    with_node(&mut memory, |bench, turn| {
        let chunk = |sha256, offset: usize, bytes: &[u8]| {
            bench.say(&ToNode::Chunk { sha256, offset: offset as u32, bytes });
        };
        let [first, second, third] = [0, 1, 2].map(|n| program.chunks(CHUNK_MAX_BYTES).nth(n).unwrap());
        let sha256 = sha(&program);
        turn();
        bench.say(&begin(&program));
        chunk(sha256, 0, first);
        chunk(sha256, 0, first);
        chunk([9; 32], CHUNK_MAX_BYTES, second);
        turn();
        assert_eq!(said(bench), [Said::Wants(CHUNK_MAX_BYTES as u32)]);
        bench.say(&begin(&program));
        turn();
        assert_eq!(said(bench), [Said::Wants(CHUNK_MAX_BYTES as u32)], "announced anew, it goes on where it was");
        chunk(sha256, CHUNK_MAX_BYTES, second);
        chunk(sha256, CHUNK_MAX_BYTES, second);
        turn();
        assert_eq!(said(bench), [Said::Wants(2 * CHUNK_MAX_BYTES as u32)]);
        chunk(sha256, 2 * CHUNK_MAX_BYTES, &[third, &[7; 60]].concat());
        turn();
    });
    assert!(memory.is_ready && memory.beside == program);
}

#[test]
fn what_has_been_with_its_gateway_for_a_while_is_kept_and_what_was_not_goes() {
    let program = program();
    let trial = || Memory { running: Some(sha(&program)), is_on_trial: true, ..Memory::default() };
    let mut memory = trial();
    with_node(&mut memory, |bench, turn| {
        bench.say(&begin(&program));
        turn();
        bench.wait_ms(KEPT_AFTER_MS - 1);
        bench.say(&begin(&[1]));
        turn();
        // What comes of a turn is said in the next.
        turn();
        assert_eq!(said(bench), [], "on trial it takes no other, and is not kept yet");
        bench.wait_ms(1);
        turn();
        turn();
        bench.say(&begin(&program));
        turn();
        assert_eq!(said(bench), [Said::Done, Said::Done], "also when it is asked again");
    });
    assert_eq!((memory.is_on_trial, memory.restarts), (false, 0));
    let mut memory = trial();
    with_node(&mut memory, |bench, turn| {
        turn();
        // The gateway goes before that, and is back for a moment.
        bench.wait_ms(u64::from(SILENCE_MAX_MS) + 1);
        turn();
        bench.wait_ms(TRIAL_MAX_MS - u64::from(SILENCE_MAX_MS) - 3);
        turn();
        bench.welcome(7, 0);
        turn();
    });
    assert_eq!((memory.is_on_trial, memory.restarts), (true, 0), "it began anew");
    let mut memory = trial();
    with_node(&mut memory, |bench, turn| {
        turn();
        bench.wait_ms(TRIAL_MAX_MS);
        turn();
    });
    assert_eq!((memory.is_on_trial, memory.restarts), (true, 1));
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let program = program();
    let refusal = |memory: &mut Memory, program: &[u8], wrong: bool| {
        let mut reason = String::new();
        with_node(memory, |bench, turn| {
            turn();
            let sent = if wrong { program.iter().map(|byte| !byte).collect() } else { program.to_vec() };
            bench.say(&begin(program));
            for _ in 0..9 {
                turn();
                match said(bench).last() {
                    Some(Said::Wants(offset)) => {
                        let rest = &sent[*offset as usize..];
                        let bytes = &rest[..rest.len().min(CHUNK_MAX_BYTES)];
                        bench.say(&ToNode::Chunk { sha256: sha(program), offset: *offset, bytes });
                    }
                    Some(Said::Refused(why)) => reason.push_str(why),
                    _ => {}
                }
            }
        });
        reason
    };
    let returned = Some(sha(&program));
    assert!(refusal(&mut Memory { returned, ..Memory::default() }, &program, false).contains("the one before is back"));
    assert!(refusal(&mut Memory { fails: true, ..Memory::default() }, &program, false).contains("flash failed"));
    assert!(refusal(&mut Memory::default(), &program, true).contains("SHA-256"));
    for bad in [vec![], vec![0; SLOT_BYTES as usize + 1]] {
        assert!(refusal(&mut Memory::default(), &bad, false).contains("1 to 4096"));
    }
    let bench = Bench::default();
    let mut node = node(&bench, limits(), &mut []);
    bench.welcome(7, 0);
    bench.say(&begin(&program));
    node.turn().unwrap();
    assert!(matches!(&said(&bench)[..], [Said::Refused(reason)] if reason.contains("probe")));
}

//! Bytes that are nearly right.

use fastrand::Rng;

/// Mutated input never grows beyond this.
const INPUT_MAX_BYTES: usize = 16 << 10;
/// Numbers at which readers go wrong: limits of types, of variable-length integers, of lengths.
const EDGES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 53,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// One of `corpus` with a few changes; now and then as it is, or of two of them.
pub fn mutated(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.choice(corpus).cloned().unwrap_or_default();
    if rng.u8(..8) == 0 {
        let other = rng.choice(corpus).cloned().unwrap_or_default();
        bytes.truncate(rng.usize(..=bytes.len()));
        bytes.extend_from_slice(other.get(rng.usize(..=other.len())..).unwrap_or_default());
    }
    // Most mistakes are small; many together mostly meet the first check alone.
    let changes = 1 << rng.u32(..4);
    for _ in 0..rng.u32(..changes) {
        change(rng, &mut bytes, corpus);
    }
    bytes.truncate(INPUT_MAX_BYTES);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = rng.usize(..=bytes.len());
    match rng.u8(..10) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = byte.wrapping_add(rng.u8(..8)).wrapping_sub(4)),
        3 => bytes.insert(at, rng.u8(..)),
        4 => drop(bytes.drain(at..bytes.len().min(at + rng.usize(..40)))),
        5 => bytes.truncate(at),
        6 => overwrite_number(rng, bytes, at),
        7 => insert_number(rng, bytes, at),
        8 => {
            let again = piece(rng, bytes, 120);
            bytes.splice(at..at, again);
        }
        _ => {
            let other = rng.choice(corpus).map(|other| piece(rng, other, 60)).unwrap_or_default();
            bytes.splice(at..bytes.len().min(at + rng.usize(..=other.len())), other);
        }
    }
}

fn piece(rng: &mut Rng, of: &[u8], most_bytes: usize) -> Vec<u8> {
    let from = rng.usize(..=of.len());
    of.iter().skip(from).take(rng.usize(..most_bytes)).copied().collect()
}

fn edge(rng: &mut Rng) -> u64 {
    rng.choice(EDGES).unwrap_or_default()
}

/// In the byte orders and widths that our formats have.
fn overwrite_number(rng: &mut Rng, bytes: &mut [u8], at: usize) {
    let (number, width) = (edge(rng), 1 << rng.u32(..4));
    let little = number.to_le_bytes();
    let big = number.to_be_bytes();
    let of: &[u8] = if rng.bool() { &little[..width] } else { &big[8 - width..] };
    bytes.iter_mut().skip(at).zip(of).for_each(|(to, from)| *to = *from);
}

/// As text, or as a variable-length integer.
fn insert_number(rng: &mut Rng, bytes: &mut Vec<u8>, at: usize) {
    let mut number = edge(rng);
    if rng.bool() {
        bytes.splice(at..at, number.to_string().into_bytes());
        return;
    }
    let mut varint = Vec::new();
    while number > 0x7f {
        varint.push(number as u8 | 0x80);
        number >>= 7;
    }
    varint.push(number as u8);
    bytes.splice(at..bytes.len().min(at + 1), varint);
}

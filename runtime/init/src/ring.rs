//! The last lines that `eyotd` said, in memory: flash sees them only when something went wrong.

use std::collections::VecDeque;

/// Bytes of lines that are kept.
pub const RING_MAX_BYTES: usize = 64 << 10;
/// Bytes of one line; the rest of it is left out.
pub const LINE_MAX_BYTES: usize = 2 << 10;

/// It.
#[derive(Debug, Default)]
pub struct Ring {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Ring {
    /// Adds a line, and drops the oldest ones there is no room for.
    pub fn push(&mut self, line: &[u8]) {
        let line = line.get(..LINE_MAX_BYTES).unwrap_or(line);
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_vec());
        while self.bytes > RING_MAX_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len() + 1;
        }
    }

    /// All lines, oldest first.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.bytes);
        for line in &self.lines {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay() {
        let mut ring = Ring::default();
        for number in 0..100_000 {
            ring.push(format!("line {number}").as_bytes());
        }
        let text = ring.text();
        assert!(text.len() <= RING_MAX_BYTES && text.len() > RING_MAX_BYTES - 100);
        assert!(text.ends_with(b"line 99998\nline 99999\n"));
    }

    #[test]
    fn a_line_without_end_has_one() {
        let mut ring = Ring::default();
        ring.push(&vec![b'x'; 1 << 20]);
        assert_eq!(ring.text().len(), LINE_MAX_BYTES + 1);
    }
}

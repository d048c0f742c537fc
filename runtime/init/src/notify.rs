//! What a daemon says of itself in the protocol of `sd_notify`: a datagram of `KEY=value` lines.

use crate::supervisor::Event;

/// Most bytes of a datagram that are looked at.
pub const DATAGRAM_MAX: usize = 4096;

/// What of it matters here.
pub fn events(datagram: &[u8]) -> impl Iterator<Item = Event> + '_ {
    datagram.split(|byte| *byte == b'\n').filter_map(|line| match line {
        b"READY=1" => Some(Event::Ready),
        b"WATCHDOG=1" => Some(Event::Alive),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let said = b"STATUS=two functions\nREADY=1\nWATCHDOG=1\n";
        assert_eq!(events(said).collect::<Vec<_>>(), [Event::Ready, Event::Alive]);
        assert_eq!(events(b"READY=0\nNOTREADY=1\n\xff\n").count(), 0);
    }
}

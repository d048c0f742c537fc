//! What a daemon says of itself in the protocol of `sd_notify`: a datagram of `KEY=value` lines.

use crate::supervisor::Event;

/// What eyotd says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// How it runs.
    Event(Event),
    /// Whether it is connected to its brokers.
    Connected(bool),
    /// It has left a new system for us.
    Update,
}

/// Most bytes of a datagram that are looked at.
pub const DATAGRAM_MAX: usize = 4096;

/// What of it matters here.
pub fn read(datagram: &[u8]) -> impl Iterator<Item = Said> + '_ {
    datagram.split(|byte| *byte == b'\n').filter_map(|line| match line {
        b"READY=1" => Some(Said::Event(Event::Ready)),
        b"WATCHDOG=1" => Some(Said::Event(Event::Alive)),
        b"X_EYOT_UPDATE=1" => Some(Said::Update),
        _ => line.strip_prefix(b"STATUS=").map(|status| Said::Connected(status == b"connected")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let said = b"STATUS=not connected\nREADY=1\nWATCHDOG=1\n";
        let [ready, alive] = [Event::Ready, Event::Alive].map(Said::Event);
        assert_eq!(read(said).collect::<Vec<_>>(), [Said::Connected(false), ready, alive]);
        assert_eq!(
            read(b"STATUS=connected\nX_EYOT_UPDATE=1").collect::<Vec<_>>(),
            [Said::Connected(true), Said::Update]
        );
        assert_eq!(read(b"READY=0\nNOTREADY=1\n\xff\n").count(), 0);
    }
}

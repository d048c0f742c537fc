//! Which publish it is that a broker closes the connection on, again and again.
//!
//! A broker may answer a publish that it cannot take, or it may close: on a topic that is too deep for it, or on one that this
//! client must not publish to. What was not answered is sent first on the next connection, and so it would stand before all
//! others for ever. After some such connections one output is sent at a time; the one that the broker closes on then, too, is
//! refused. That a link fails is no sign of it, so only what the broker ends counts, and only if nothing was answered.

/// So many connections in a row were closed with outputs unanswered, and none answered, before they are sent one at a time.
pub const CLOSED_MAX: u8 = 3;
/// So many were closed on one output alone, by a broker that said it does not take what it was sent.
pub const BLAMED_ALONE_MAX: u8 = 2;
/// So many were closed on one output alone. MQTT 3.1.1 has no word for why; with the waits between them, it takes minutes.
pub const CLOSED_ALONE_MAX: u8 = 16;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The broker closed it, and said that it does not take what it was sent.
    ByBlame,
    /// The broker closed it, for another reason or for none that it said.
    ByBroker,
    /// By a failure of the link, a missing answer, or by ourselves.
    Otherwise,
}

/// What happened to the outputs that were sent on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many were answered.
    pub answered: u64,
    /// How many were not.
    pub unanswered: u64,
    /// The token of one of those.
    pub first: Option<u64>,
}

/// What the connections of one link have shown.
#[derive(Debug, Default)]
pub struct Suspicion {
    /// Of those in a row that were closed with nothing answered.
    closed: u8,
    blamed: u8,
    /// So many outputs are to be sent one at a time: those that were in flight.
    alone: Option<u64>,
}

impl Suspicion {
    /// How many outputs the next connection is to send one at a time; none if it need not.
    pub fn alone(&self) -> Option<u64> {
        self.alone
    }

    /// A connection that was up has ended; the token of the output that is refused, if one is.
    pub fn ended(&mut self, how: Ended, traffic: &Traffic) -> Option<u64> {
        if traffic.answered > 0 || traffic.unanswered == 0 || how == Ended::Otherwise {
            (self.closed, self.blamed) = (0, 0);
            self.alone = self.alone.map(|left| left.saturating_sub(traffic.answered)).filter(|left| *left > 0);
            return None;
        }
        self.closed = self.closed.saturating_add(1);
        self.blamed = self.blamed.saturating_add(u8::from(how == Ended::ByBlame));
        if self.alone.is_none() {
            if self.closed >= CLOSED_MAX {
                *self = Self { closed: 0, blamed: 0, alone: Some(traffic.unanswered) };
            }
            return None;
        }
        let is_refused = self.blamed >= BLAMED_ALONE_MAX || self.closed >= CLOSED_ALONE_MAX;
        let refused = traffic.first.filter(|_| is_refused && traffic.unanswered == 1)?;
        *self = Self::default();
        Some(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(unanswered: u64) -> Traffic {
        Traffic { answered: 0, unanswered, first: (unanswered > 0).then_some(7) }
    }

    fn suspicious() -> Suspicion {
        let mut suspicion = Suspicion::default();
        for _ in 0..CLOSED_MAX {
            assert_eq!(suspicion.alone(), None);
            assert_eq!(suspicion.ended(Ended::ByBroker, &sent(100)), None);
        }
        assert_eq!(suspicion.alone(), Some(100));
        suspicion
    }

    #[test]
    fn what_the_broker_closes_on_alone_is_refused() {
        for (how, times) in [(Ended::ByBlame, BLAMED_ALONE_MAX), (Ended::ByBroker, CLOSED_ALONE_MAX)] {
            let mut suspicion = suspicious();
            for _ in 1..times {
                assert_eq!(suspicion.ended(how, &sent(1)), None);
            }
            assert_eq!(suspicion.ended(how, &sent(1)), Some(7));
            assert_eq!(suspicion.alone(), None, "and all others go as before");
        }
    }

    #[test]
    fn links_that_fail_and_connections_of_use_prove_nothing() {
        let answered = Traffic { answered: 1, ..sent(9) };
        for (how, traffic) in [(Ended::Otherwise, sent(9)), (Ended::ByBlame, answered), (Ended::ByBlame, sent(0))] {
            let mut suspicion = Suspicion::default();
            for _ in 0..10 {
                for _ in 1..CLOSED_MAX {
                    suspicion.ended(Ended::ByBroker, &sent(100));
                }
                suspicion.ended(how, &traffic);
                assert_eq!(suspicion.alone(), None, "{how:?} {traffic:?}");
            }
            let mut suspicion = suspicious();
            for _ in 0..10 {
                for _ in 1..CLOSED_ALONE_MAX {
                    assert_eq!(suspicion.ended(Ended::ByBroker, &sent(1)), None);
                }
                suspicion.ended(how, &traffic);
            }
        }
    }

    #[test]
    fn when_all_that_was_in_flight_is_answered_the_suspicion_is_over() {
        let mut suspicion = suspicious();
        suspicion.ended(Ended::Otherwise, &Traffic { answered: 40, ..sent(1) });
        assert_eq!(suspicion.alone(), Some(60));
        suspicion.ended(Ended::Otherwise, &Traffic { answered: 60, ..sent(0) });
        assert_eq!(suspicion.alone(), None);
    }

    #[test]
    fn of_several_none_is_refused() {
        let mut suspicion = suspicious();
        for _ in 0..1000 {
            assert_eq!(suspicion.ended(Ended::ByBlame, &sent(2)), None);
        }
    }
}

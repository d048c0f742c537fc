//! Outputs for which there is no room.

use eyot_node::Channel;

use crate::bench::{readings, Bench, Counter, QUEUE};
use crate::way::a_node;

#[test]
fn a_full_queue_keeps_the_oldest_and_counts_the_rest() {
    a_node!(bench, node);
    for _ in 0..QUEUE + 10 {
        node.turn().unwrap();
        bench.wait_ms(100);
    }
    let ledger = node.ledger();
    assert_eq!((ledger.pending as usize, ledger.dropped_full), (QUEUE, 10));
    assert!(ledger.balances());
    bench.welcome(7, 0);
    node.turn().unwrap();
    assert_eq!(readings(&bench.heard())[0], (1, "{\"n\":1}".to_owned()));
    bench.ack(7, 1);
    bench.wait_ms(100);
    node.turn().unwrap();
    assert_eq!(node.ledger().pending as usize, QUEUE, "room for one, and one came");
    assert!(node.ledger().acked == 1 && node.ledger().balances());
}

//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use eyot_budget::{apply, Origins};

fn main() {
    // Secure aliases of the two static memories, in which QEMU starts the processor.
    apply("mps2-an505", &Origins { flash: 0x1000_0000, ram: 0x3800_0000 }, "");
}

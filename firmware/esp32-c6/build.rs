//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use eyot_budget::{apply_to, Sections};

fn main() {
    let sections = Sections {
        flash: &[".flash.appdesc", ".rodata", ".text", ".trap", ".rwtext", ".data"],
        ram_start: "ORIGIN(RAM)",
        ram_end: "_stack_end",
    };
    apply_to("esp32-c6", &sections);
}

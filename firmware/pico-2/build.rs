//! Holds the program against the board's file: what does not fit its flash and memory does not link.

use eyot_budget::{apply, Origins};

/// Where the boot ROM looks for what describes the program: in the first 4 KiB, and at its end.
const BOOT_BLOCKS: &str = "
SECTIONS {
  .start_block : ALIGN(4) {
    __start_block_addr = .;
    KEEP(*(.start_block));
    KEEP(*(.boot_info));
  } > FLASH
} INSERT AFTER .vector_table;
_stext = ADDR(.start_block) + SIZEOF(.start_block);
SECTIONS {
  .bi_entries : ALIGN(4) {
    __bi_entries_start = .;
    KEEP(*(.bi_entries));
    . = ALIGN(4);
    __bi_entries_end = .;
  } > FLASH
} INSERT AFTER .text;
SECTIONS {
  .end_block : ALIGN(4) {
    __end_block_addr = .;
    KEEP(*(.end_block));
  } > FLASH
} INSERT AFTER .uninit;
PROVIDE(start_to_end = __end_block_addr - __start_block_addr);
PROVIDE(end_to_start = __start_block_addr - __end_block_addr);
";

fn main() {
    apply("pico-2", &Origins { flash: 0x1000_0000, ram: 0x2000_0000 }, BOOT_BLOCKS);
}

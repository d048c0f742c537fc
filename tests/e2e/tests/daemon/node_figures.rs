//! What functions take of a microcontroller, counted by the emulator: the figures of the README.

use eyot_test_e2e::qemu::{figures, firmware};

/// Of the heap, to load, for a message, and of fuel.
fn numbers(lines: &[String], name: &str) -> [u64; 4] {
    let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    let line = line.unwrap_or_else(|| panic!("{name} is not there: {lines:?}"));
    let all: Vec<u64> = line.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect();
    let [_, heap, load, message, fuel] = all[..] else { panic!("{line}") };
    [heap, load, message, fuel]
}

#[test]
fn what_functions_take_of_a_node_stays_small() {
    let Some(firmware) = firmware("figures of nodes") else { return };
    let lines = figures(&firmware);
    println!("{}", lines.join("\n"));
    // Heap in KiB, thousands of instructions to load, instructions for a message.
    for (name, most) in
        [("small", [20, 500, 15_000]), ("alarm", [350, 80_000, 200_000]), ("celsius", [400, 90_000, 300_000])]
    {
        let [heap, load, message, fuel] = numbers(&lines, name);
        let is = [heap >> 10, load / 1000, message];
        assert!(is.iter().zip(most).all(|(is, most)| *is <= most), "{name}: {lines:?}");
        assert!(message > 0 && fuel > 0, "{name} was not run: {lines:?}");
    }
}

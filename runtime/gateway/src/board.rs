//! The boards of `boards/`, as far as what runs on a node must fit one.

use std::fmt;

use eyot_engine::limits::{LOAD_BYTES, LOAD_BYTES_PER_BYTE};
use eyot_engine::{LoadOptions, OverCeiling, StackLimits};
use eyot_wire::manifest::{Limits, Manifest};
use eyot_wire::module::MODULE_MAX_BYTES;
use serde::{Deserialize, Serialize};

/// Every file of `boards/`, in the order they are listed.
pub const FILES: [&str; 13] = [
    include_str!("../../../boards/rpi-zero-2w.toml"),
    include_str!("../../../boards/rpi-3b-plus.toml"),
    include_str!("../../../boards/rpi-4b.toml"),
    include_str!("../../../boards/rpi-cm4.toml"),
    include_str!("../../../boards/rpi-5.toml"),
    include_str!("../../../boards/beaglebone-black.toml"),
    include_str!("../../../boards/x86-64.toml"),
    include_str!("../../../boards/qemu-virt.toml"),
    include_str!("../../../boards/pico-2.toml"),
    include_str!("../../../boards/nrf52840-dk.toml"),
    include_str!("../../../boards/nucleo-f446re.toml"),
    include_str!("../../../boards/esp32-c6.toml"),
    include_str!("../../../boards/mps2-an505.toml"),
];

/// `[mcu]`: a microcontroller, and what its program may use of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mcu {
    /// Its name.
    pub chip: String,
    /// What a program may use of its flash.
    pub flash_kib: u32,
    /// The same of its memory, its heap among it.
    pub ram_kib: u32,
    /// Serial tool or emulator that puts a program there.
    pub flasher: String,
    /// The link's port.
    pub uart: String,
    /// What its program leaves for its stack, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_kib: Option<u32>,
    /// What of its flash is for the function's state, and not for the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_flash_kib: Option<u32>,
    /// Folder of the program for it, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// The heap that its function lives on, and what that may use; where there is a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionBudget>,
}

/// `[mcu.function]`: what a function may use on a node, whatever its manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionBudget {
    /// The heap, all of it.
    pub heap_kib: u32,
    /// Largest module.
    pub module_kib: u32,
    /// Most fuel for one sample.
    pub fuel: u64,
    /// Linear memory.
    pub memory_kib: u32,
    /// Outputs of one sample.
    pub output_kib: u32,
    /// State.
    pub state_kib: u32,
    /// The interpreter's stack of values.
    pub stack_kib: u32,
    /// Its nested calls.
    pub calls: u32,
    /// Time for one sample, in milliseconds.
    pub deadline_ms: u64,
}

impl FunctionBudget {
    /// What the manifest's limits are lowered to.
    pub fn limits(&self) -> Limits {
        Limits {
            fuel: self.fuel,
            memory_bytes: u64::from(self.memory_kib) << 10,
            output_bytes: u64::from(self.output_kib) << 10,
            state_bytes: u64::from(self.state_kib) << 10,
            deadline_ms: self.deadline_ms,
        }
    }

    /// How a node loads a function.
    pub fn load_options(&self) -> LoadOptions<'static> {
        let (ceiling, over_ceiling) = (self.limits(), OverCeiling::Lower);
        LoadOptions { ceiling, over_ceiling, stack: self.stack(), ..LoadOptions::default() }
    }

    /// What a function with this manifest and module needs here.
    pub fn demands(&self, manifest: &Manifest, module_bytes: usize) -> [Demand; 3] {
        let bytes = module_bytes as u64;
        let granted = manifest.limits.lowered_to(&self.limits());
        let (memory, output, state) = (granted.memory_bytes, granted.output_bytes, granted.state_bytes);
        let stack = u64::from(self.stack_kib) << 10;
        let needs = [LOAD_BYTES_PER_BYTE * bytes, LOAD_BYTES, memory, output, state, stack].into_iter().sum();
        let sum = format!(
            "{LOAD_BYTES_PER_BYTE} x {bytes} to load the module + {LOAD_BYTES} + memory {memory} + output {output} + state \
             {state} + stack {stack}"
        );
        [
            Demand { of: "module bytes", needs: bytes, has: u64::from(self.module_kib) << 10, sum: String::new() },
            Demand { of: "heap bytes", needs, has: u64::from(self.heap_kib) << 10, sum },
            Demand { of: "fuel", needs: manifest.limits.fuel, has: self.fuel, sum: String::new() },
        ]
    }

    /// Whether it fits.
    ///
    /// # Errors
    /// What does not, with the arithmetic, and the remedy.
    pub fn fit(&self, manifest: &Manifest, module_bytes: usize) -> Result<(), String> {
        let unmet: Vec<String> =
            self.demands(manifest, module_bytes).iter().filter(|d| !d.is_met()).map(Demand::to_string).collect();
        match unmet.is_empty() {
            true => Ok(()),
            false => Err(format!("{}; build it smaller, lower its [limits], or use a larger board", unmet.join("; "))),
        }
    }

    /// The interpreter's stacks.
    pub fn stack(&self) -> StackLimits {
        let calls = usize::try_from(self.calls).unwrap_or(usize::MAX);
        StackLimits { calls, values_bytes: kib(self.stack_kib) }
    }
}

/// One thing that a function needs and a board grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// What it is of, in one word.
    pub of: &'static str,
    /// How much is needed.
    pub needs: u64,
    /// How much there is.
    pub has: u64,
    /// How it comes to that.
    pub sum: String,
}

impl Demand {
    /// Whether it is met.
    pub fn is_met(&self) -> bool {
        self.needs <= self.has
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, needs, has, sum } = self;
        let word = if self.is_met() { "of" } else { "more than the" };
        write!(f, "{of}: {needs} {word} {has}")?;
        if sum.is_empty() {
            Ok(())
        } else {
            write!(f, " ({sum})")
        }
    }
}

/// So many KiB in bytes.
pub fn kib(kib: u32) -> usize {
    usize::try_from(u64::from(kib) << 10).unwrap_or(usize::MAX)
}

/// What of a gateway's memory is for the system and the daemon itself.
const SYSTEM_MIB: u64 = 96;

#[derive(Deserialize)]
struct File {
    board: Id,
    mcu: Option<Mcu>,
    limits: Option<Memory>,
}

#[derive(Deserialize)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
struct Memory {
    ram_mib: u32,
}

/// A board, by what functions may use on it.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its id.
    pub id: String,
    /// What runs there.
    pub runs: Runs,
}

/// What runs on a board.
#[derive(Clone, Copy, Debug)]
pub enum Runs {
    /// A gateway, with so much memory.
    Gateway {
        /// Of its smallest variant.
        ram_mib: u32,
    },
    /// A node.
    Node(FunctionBudget),
    /// Nothing yet: there is no program for it.
    Nothing,
}

impl Board {
    /// All of them, in the order they are listed.
    pub fn all() -> Vec<Self> {
        let read = |text: &&str| {
            let File { board, mcu, limits } = toml::from_str(text).ok()?;
            let runs = match (mcu.and_then(|mcu| mcu.function), limits) {
                (Some(budget), _) => Runs::Node(budget),
                (None, Some(Memory { ram_mib })) => Runs::Gateway { ram_mib },
                (None, None) => Runs::Nothing,
            };
            Some(Self { id: board.id, runs })
        };
        FILES.iter().filter_map(read).collect()
    }

    /// What a function with this manifest and module needs here; nothing if nothing runs here.
    pub fn demands(&self, manifest: &Manifest, module_bytes: usize) -> Vec<Demand> {
        match self.runs {
            Runs::Nothing => Vec::new(),
            Runs::Node(budget) => budget.demands(manifest, module_bytes).into(),
            Runs::Gateway { ram_mib } => on_gateway(ram_mib, manifest, module_bytes),
        }
    }
}

/// What a function with this manifest and module needs on any gateway.
pub fn on_any_gateway(manifest: &Manifest, module_bytes: usize) -> [Demand; 2] {
    let (bytes, fuel) = (module_bytes as u64, manifest.limits.fuel);
    [
        Demand { of: "module bytes", needs: bytes, has: MODULE_MAX_BYTES as u64, sum: String::new() },
        Demand { of: "fuel", needs: fuel, has: Limits::CEILING.fuel, sum: String::new() },
    ]
}

fn on_gateway(ram_mib: u32, manifest: &Manifest, module_bytes: usize) -> Vec<Demand> {
    let (bytes, limits) = (module_bytes as u64, manifest.limits);
    let sum = format!(
        "{LOAD_BYTES_PER_BYTE} x {bytes} to load the module + memory {} + output {} + state {}, of {ram_mib} MiB less {SYSTEM_MIB} MiB \
         for the system",
        limits.memory_bytes, limits.output_bytes, limits.state_bytes
    );
    let needs = LOAD_BYTES_PER_BYTE * bytes + limits.memory_bytes + limits.output_bytes + limits.state_bytes;
    let has = u64::from(ram_mib).saturating_sub(SYSTEM_MIB) << 20;
    let [module, fuel] = on_any_gateway(manifest, module_bytes);
    vec![module, Demand { of: "memory bytes", needs, has, sum }, fuel]
}

/// What the board of a node grants functions.
///
/// # Errors
/// There is no such board, or no node runs on it: reason and remedy.
pub fn find(id: &str) -> Result<FunctionBudget, String> {
    let Some(board) = Board::all().into_iter().find(|board| board.id == id) else {
        return Err(format!("\"{id}\" is no board; `eyot boards` lists them"));
    };
    match board.runs {
        Runs::Node(budget) => Ok(budget),
        _ => Err(format!("\"{id}\" runs no node: there is no program for it; `eyot boards` lists those there are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(limits: &str) -> Manifest {
        Manifest::parse(&format!("name = \"f\"\nversion = \"1.0.0\"\n[limits]\n{limits}")).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_told_with_the_arithmetic() {
        let budget = find("mps2-an505").unwrap();
        assert_eq!(budget.fit(&manifest(""), 79_000), Ok(()), "the largest of the examples");
        let reason = budget.fit(&manifest(""), 98_305).unwrap_err();
        assert!(reason.contains("module bytes: 98305 more than the 98304") && reason.contains("8 x 98305"), "{reason}");
        let reason = budget.fit(&manifest("fuel = 1_000_001"), 1000).unwrap_err();
        assert!(reason.starts_with("fuel: 1000001 more than the 1000000;"), "{reason}");
        let lowered = budget.demands(&manifest("memory = \"16MiB\""), 1000);
        assert_eq!(lowered.iter().filter(|demand| demand.is_met()).count(), 3, "the node lowers it, as it does");
    }

    #[test]
    fn every_board_is_a_gateway_a_node_or_neither() {
        let all = Board::all();
        assert_eq!(all.len(), FILES.len());
        let of = |id: &str| all.iter().find(|board| board.id == id).unwrap().demands(&manifest(""), 1000).len();
        assert_eq!([of("rpi-5"), of("mps2-an505"), of("esp32-c6"), of("nucleo-f446re")], [3, 3, 3, 0]);
        let small = on_gateway(100, &manifest("memory = \"5MiB\""), 1000);
        assert!(!small[1].is_met(), "{}", small[1]);
    }
}

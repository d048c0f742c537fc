//! A system that comes over MQTT: to the other slot, started once, and kept only if it is well.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use eyot_test_e2e::mosquitto::Mosquitto;
use eyot_test_e2e::programs::{eyot, root};
use eyot_test_e2e::site::{await_status, balances};
use tempfile::TempDir;

use crate::board::{Board, PC, VIRT};
use crate::machine::{build, publish, run, started, Machine, CARD_BYTES, HOST, ID};

const READINGS: u32 = 50;

/// The same program, but that it ends as soon as it starts.
fn broken(mut program: Vec<u8>, exit_7: &[u8]) -> Vec<u8> {
    let word = |at: usize| u64::from_le_bytes(program[at..at + 8].try_into().unwrap());
    let half = |at: usize| usize::from(u16::from_le_bytes(program[at..at + 2].try_into().unwrap()));
    // Of the ELF header: entry point, program headers, the size of one, how many; of these: offset, address, bytes in the file.
    let (entry, headers, size, count) = (word(24), word(32) as usize, half(54), half(56));
    let loaded = (0..count).map(|number| headers + number * size).find_map(|header| {
        let (offset, address, bytes) = (word(header + 8), word(header + 16), word(header + 32));
        (address..address + bytes).contains(&entry).then(|| (entry - address + offset) as usize)
    });
    let at = loaded.unwrap();
    program[at..at + exit_7.len()].copy_from_slice(exit_7);
    program
}

/// A gateway on a card, with its broker, and whoever may update it.
struct Site {
    board: &'static Board,
    dir: TempDir,
    broker: Mosquitto,
    programs: PathBuf,
}

impl Site {
    /// None without a mirror of Debian.
    fn new(board: &'static Board, cloud: &Mosquitto) -> Option<Self> {
        let programs = board.programs()?;
        let site = Self { board, dir: TempDir::new().unwrap(), broker: Mosquitto::persistent(), programs };
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        run(&["keys", "new", "--out", &text(site.at("ada"))]);
        fs::copy(root().join("functions/celsius/celsius.wasm"), site.at("celsius.wasm")).unwrap();
        let config = format!(
            "[gateway]\nid = \"{ID}\"\nstatus_interval = \"1s\"\n[broker]\nurl = \"mqtt://{HOST}:{}\"\n\
             [[uplink]]\nname = \"cloud\"\nurl = \"mqtt://{HOST}:{}\"\ntopics = [\"none/#\"]\n\
             [[uplink]]\nname = \"late\"\nurl = \"mqtt://{HOST}:1\"\ntopics = [\"processed/#\"]\n\
             [trust]\nkeys = [\"{}\"]\n[[function]]\npath = \"celsius.wasm\"\n",
            site.broker.port(),
            cloud.port(),
            fs::read_to_string(site.at("ada.pub")).unwrap().trim()
        );
        fs::write(site.at("gateway.toml"), config).unwrap();
        build(board, &site.programs, &site.at("card.img"), &["--config", &text(site.at("gateway.toml"))])?;
        File::options().write(true).open(site.at("card.img")).unwrap().set_len(CARD_BYTES).unwrap();
        Some(site)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.broker.port())
    }

    /// Pushes an image of the same programs, but with this one.
    fn push(&self, name: &str, program: &str, bytes: &[u8]) -> Child {
        let with = self.at(name);
        fs::create_dir(&with).unwrap();
        for program in ["eyot-init", "eyotd"] {
            fs::copy(self.programs.join(program), with.join(program)).unwrap();
        }
        fs::write(with.join(program), bytes).unwrap();
        let image = self.at(&format!("{name}.img"));
        build(self.board, &with, &image, &[]).unwrap();
        let mut command = Command::new(eyot());
        command.args(["update", "push"]).arg(image).args(["--gateway", ID, "--wait", "--broker", &self.url()]);
        command.arg("--key").arg(self.at("ada")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn start(&self) -> Machine {
        Machine::start(self.board, self.dir.path(), &self.at("card.img"))
    }

    fn started(&self) -> u8 {
        started(&self.at("card.img"))
    }

    /// Nothing that waited is lost.
    #[track_caller]
    fn keeps_the_backlog(&self) {
        let status = await_status(self.broker.port(), ID, "what waits", |status| {
            status["subscribed"] == true && status["ledger"]["pending"] == READINGS
        });
        assert!(balances(&status), "{status}");
    }

    /// A push comes to this exit code, and says why; nothing that waited is lost.
    #[track_caller]
    fn comes_to(&self, push: Child, code: i32, why: &str) {
        let output = push.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
        println!("{}", said.trim());
        assert!(output.status.code() == Some(code) && said.contains(why), "{:?} {said}", output.status);
        self.keeps_the_backlog();
    }
}

#[test]
fn a_new_system_comes_over_mqtt_and_stays_if_it_is_well_and_goes_if_it_is_not() {
    a_new_system_stays_if_it_is_well(&VIRT);
}

#[test]
fn so_it_does_on_a_pc() {
    a_new_system_stays_if_it_is_well(&PC);
}

fn a_new_system_stays_if_it_is_well(board: &'static Board) {
    let cloud = Mosquitto::persistent();
    let Some(site) = Site::new(board, &cloud) else { return };
    let good = fs::read(site.programs.join("eyotd")).unwrap();
    let another = |byte: u8| [&good[..], &[byte]].concat();
    let machine = site.start();
    machine.ready("first start");
    await_status(site.broker.port(), ID, "a gateway that listens", |status| status["subscribed"] == true);
    publish(&site.broker, 0..READINGS);
    site.keeps_the_backlog();

    // Number of the partition that is started unless a boot loader tries another once.
    let stays = |tried: u8, before: u8| if board.is_tried_once { before } else { tried };

    let push = site.push("good", "eyotd", &another(1));
    let console = machine.restarts();
    assert!(console.contains("a new system is written to partition 3"), "{console}");
    assert_eq!(site.started(), stays(3, 2));
    let machine = site.start();
    machine.ready("on trial");
    machine.says("is well, and stays");
    site.comes_to(push, 0, "keeps it");
    assert_eq!(site.started(), 3);

    let push = site.push("broken", "eyotd", &broken(good.clone(), board.exit_7));
    machine.restarts();
    assert_eq!(site.started(), stays(2, 3));
    let console = site.start().restarts();
    assert!(console.contains("taken back: eyotd ended: exit code 7"), "{console}");
    assert_eq!(site.started(), 3, "the one before");
    let machine = site.start();
    machine.ready("taken back");
    site.comes_to(push, 1, "eyotd ended: exit code 7");

    let push = site.push("unlucky", "eyotd", &another(2));
    machine.restarts();
    let machine = site.start();
    machine.says("is on trial");
    machine.pull_plug();
    if !board.is_tried_once {
        let console = site.start().restarts();
        assert!(console.contains("the system on partition 3 is started next"), "{console}");
    }
    let machine = site.start();
    machine.ready("after a plug that was pulled in the trial");
    site.comes_to(push, 1, "did not come as far as being well");
    if !board.is_tried_once {
        return machine.press_button();
    }

    let init = fs::read(site.programs.join("eyot-init")).unwrap();
    let push = site.push("hopeless", "eyot-init", &broken(init, board.exit_7));
    machine.restarts();
    let console = site.start().restarts();
    assert!(console.contains("Attempted to kill init"), "{console}");
    let machine = site.start();
    machine.ready("after a first process that ended");
    site.comes_to(push, 1, "did not come as far as its first process");
    machine.press_button();
}

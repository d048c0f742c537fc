//! A shell over SSH, in images that were asked for it, for those who have a key.

use std::fs;
use std::path::Path;

use eyot_test_e2e::wait::wait_for;
use tempfile::TempDir;

use crate::board::{Board, PC, VIRT};
use crate::machine::{build, Machine, BOOT};
use crate::shell::Shell;

#[test]
fn whoever_has_a_key_gets_a_shell_and_nobody_else() {
    lets_in_whoever_has_a_key(&VIRT);
    lets_in_whoever_has_a_key(&PC);
}

fn lets_in_whoever_has_a_key(board: &Board) {
    let Some(programs) = board.programs() else { return };
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let shell = Shell::new(dir.path());
    if build(board, &programs, Path::new(&at("card.img")), &["--ssh-key", &at("ada.pub")]).is_none() {
        return;
    }
    for start in ["first", "second"] {
        let machine = Machine::start(board, dir.path(), Path::new(&at("card.img")));
        machine.says("has the address");
        let run = |key: &str, command: &str| shell.run(&machine, key, command);
        let board_is = (Some(0), board.id.to_owned());
        wait_for("a shell over SSH", BOOT, || (run("ada", "cat /etc/board") == board_is).then_some(()));
        let (code, said) = run("eve", "cat /etc/board");
        assert!(code == Some(255) && said.contains("Permission denied"), "{start}: {code:?} {said}");
        assert_eq!(run("ada", "touch /x").0, Some(1), "{start}: the root file system cannot be written to");
        assert_eq!(run("ada", "sync && ls /var/lib/ssh | grep -c host_key"), (Some(0), "1\n".to_owned()));
        machine.press_button();
    }
    assert_eq!(fs::read_to_string(shell.known()).unwrap().lines().count(), 1);
}

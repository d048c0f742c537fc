//! Programs of nodes that signed commands announced: received here, verified, and handed to the node's line. One is kept until it
//! is known what became of it.
//!
//! In a directory for each node: `order` and `part` as of a [system](crate::update), and `program`, a whole one.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use eyot_wire::control::parse_sha256;
use eyot_wire::system::{SystemUpdate, UpdateReport, UpdateState, NODE_PROGRAM_MAX_BYTES};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tracing::warn;

use super::{Module, Node};
use crate::file;
use crate::update::{other_than_signed, Staging};

/// Where a node's line takes a program from.
pub type Line = watch::Sender<Option<Module>>;

#[derive(Clone, Debug)]
struct Place {
    node: String,
    board: Option<String>,
    /// The configuration file names its program.
    is_configured: bool,
    staging: Staging,
    line: Line,
}

/// Of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Programs(Vec<Place>);

impl Programs {
    /// In `data_dir`. Those that are not done go on.
    pub fn open(data_dir: &Path, nodes: &[Node], lines: Vec<Line>) -> Self {
        let root = data_dir.join("programs");
        let place = |(node, line): (&Node, Line)| Place {
            node: node.id.clone(),
            board: node.board.as_ref().map(|(board, _)| board.clone()),
            is_configured: node.program.is_some(),
            staging: Staging::at(root.join(&node.id)),
            line,
        };
        let programs = Self(nodes.iter().zip(lines).map(place).collect());
        for place in programs.0.iter().filter(|place| !place.is_configured) {
            if let Some(program) = place.program() {
                place.line.send_replace(Some(program));
            }
        }
        programs
    }

    /// A signed command announces a program for `node`.
    pub fn begin(&self, node: &str, update: &SystemUpdate) -> UpdateReport {
        let report = |state, bytes, reason| UpdateReport { sha256: update.sha256.clone(), state, bytes, reason };
        match self.admit(node, update) {
            Ok((state, bytes)) => report(state, bytes, None),
            Err(reason) => report(UpdateState::Rejected, 0, Some(reason)),
        }
    }

    fn admit(&self, node: &str, update: &SystemUpdate) -> Result<(UpdateState, u64), String> {
        let place = self.0.iter().find(|place| place.node == node);
        let place = place.ok_or_else(|| format!("no node here is called \"{node}\"; see `eyot status`"))?;
        if place.is_configured {
            return Err(format!("the program of \"{node}\" is named in the gateway's configuration; change it there"));
        }
        if let Some(board) = place.board.as_ref().filter(|board| **board != update.board) {
            return Err(format!("it is for the board {}, and \"{node}\" is {board}; build one for it", update.board));
        }
        if !(1..=NODE_PROGRAM_MAX_BYTES).contains(&update.bytes) {
            return Err(format!("it has {} bytes, and a node at most {NODE_PROGRAM_MAX_BYTES}", update.bytes));
        }
        let here = place.program().filter(|program| parse_sha256(&update.sha256) == Some(program.sha256));
        if let Some(program) = here {
            place.line.send_replace(Some(program));
            return Ok((UpdateState::Verified, update.bytes));
        }
        let announced = fs::create_dir_all(place.staging.dir()).and_then(|()| place.staging.announce(update));
        announced.map_err(|e| format!("it cannot be kept: {e}; check the gateway's disk"))?;
        Ok((UpdateState::Receiving, place.staging.here()))
    }

    /// Bytes of the program with this SHA-256, from `offset` on. None if no command has announced it.
    pub fn part(&self, sha256: &[u8; 32], offset: u64, bytes: &[u8]) -> Option<UpdateReport> {
        let is_it = |update: &SystemUpdate| parse_sha256(&update.sha256).as_ref() == Some(sha256);
        let mut places = self.0.iter().filter_map(|place| Some((place, place.staging.announced().filter(is_it)?)));
        let (place, update) = places.next()?;
        let added = place.staging.add(&update, offset, bytes).and_then(|whole| match whole {
            Some(true) => place.hand_over().map(|()| Ok(UpdateState::Verified)),
            Some(false) => Ok(Err(other_than_signed())),
            None => Ok(Ok(UpdateState::Receiving)),
        });
        let ended = added.unwrap_or_else(|error| {
            Err(format!("it cannot be kept: {error}; check the gateway's disk, and push it again"))
        });
        let (state, reason) = ended.map_or_else(|reason| (UpdateState::Rejected, Some(reason)), |state| (state, None));
        let bytes = if state == UpdateState::Verified { update.bytes } else { place.staging.here() };
        if state == UpdateState::Rejected {
            place.staging.clear();
        }
        Some(UpdateReport { sha256: update.sha256, state, bytes, reason })
    }

    /// It is known what became of this program.
    pub fn ended(&self, place: usize, sha256: &str) {
        let Some(place) = self.0.get(place) else { return };
        if place.program().is_some_and(|program| hex::encode(program.sha256) == sha256) {
            let removed = fs::remove_file(place.path());
            if let Err(error) = removed.and_then(|()| place.staging.sync_dir()) {
                warn!(node = place.node, %error, "a program that is done cannot be removed; check the disk under data_dir");
            }
        }
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.staging.dir().join("program")
    }

    fn program(&self) -> Option<Module> {
        let bytes = Bytes::from(file::read(&self.path(), super::program::PROGRAM_MAX_BYTES).ok()?);
        let sha256 = Sha256::digest(&bytes).into();
        Some(Module { bytes, sha256 })
    }

    /// It is whole.
    fn hand_over(&self) -> std::io::Result<()> {
        self.staging.rename_to(&self.path())?;
        self.staging.clear();
        self.line.send_replace(self.program());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Port;

    fn node(id: &str, program: Option<Module>) -> Node {
        let port = Port::Serial { path: "/dev/x".into(), baud: 9600 };
        let board = crate::board::find("mps2-an505").map(|budget| ("mps2-an505".to_owned(), budget)).ok();
        Node { id: id.to_owned(), port, board, module: None, program }
    }

    fn update(node: &str, program: &[u8]) -> SystemUpdate {
        SystemUpdate {
            node: Some(node.to_owned()),
            board: "mps2-an505".to_owned(),
            version: "0.2.0".to_owned(),
            sha256: hex::encode(Sha256::digest(program)),
            bytes: program.len() as u64,
        }
    }

    fn digest(program: &[u8]) -> [u8; 32] {
        Sha256::digest(program).into()
    }

    #[test]
    fn what_is_whole_goes_to_its_node_until_it_is_known_what_became_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = [node("north", None), node("south", None)];
        let open = || {
            let lines: Vec<Line> = nodes.iter().map(|_| Line::default()).collect();
            (Programs::open(dir.path(), &nodes, lines.clone()), lines)
        };
        let (programs, lines) = open();
        let program = vec![7; 1000];
        let order = update("south", &program);
        assert_eq!(programs.part(&digest(&program), 0, &program), None, "nobody announced it");
        assert_eq!(programs.begin("south", &order).state, UpdateState::Receiving);
        assert_eq!(programs.part(&digest(&program), 0, &program[..400]).unwrap().bytes, 400);
        // It goes on after a start.
        let (programs, lines_after) = open();
        assert_eq!(programs.begin("south", &order).bytes, 400);
        assert_eq!(programs.part(&digest(&program), 400, &program[400..]).unwrap().state, UpdateState::Verified);
        let sent =
            |lines: &[Line]| lines.iter().map(|line| line.borrow().as_ref().map(|m| m.sha256)).collect::<Vec<_>>();
        assert_eq!((sent(&lines), sent(&lines_after)), (vec![None, None], vec![None, Some(digest(&program))]));
        assert_eq!(sent(&open().1), [None, Some(digest(&program))]);
        assert_eq!(programs.begin("south", &order).state, UpdateState::Verified, "it is on its way");
        programs.ended(1, "of another");
        programs.ended(0, &order.sha256);
        assert_eq!(sent(&open().1), [None, Some(digest(&program))]);
        // What the configuration names from now on goes before it.
        let named = Module { bytes: Bytes::new(), sha256: [0; 32] };
        let line = Line::default();
        Programs::open(dir.path(), &[node("south", Some(named))], vec![line.clone()]);
        assert_eq!(sent(&[line]), [None]);
        programs.ended(1, &order.sha256);
        assert_eq!(sent(&open().1), [None, None]);
    }

    #[test]
    fn what_is_not_for_the_node_or_not_what_was_signed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let configured = Module { bytes: Bytes::new(), sha256: [0; 32] };
        let nodes = [node("north", None), node("south", Some(configured))];
        let programs = Programs::open(dir.path(), &nodes, vec![Line::default(), Line::default()]);
        let good = update("north", &[7; 1000]);
        let reason = |node: &str, update: &SystemUpdate| programs.begin(node, update).reason.unwrap_or_default();
        assert!(reason("east", &good).contains("no node here"));
        assert!(reason("south", &good).contains("configuration"));
        assert!(reason("north", &SystemUpdate { board: "pico-2".into(), ..good.clone() }).contains("for the board"));
        for bytes in [0, NODE_PROGRAM_MAX_BYTES + 1] {
            assert!(reason("north", &SystemUpdate { bytes, ..good.clone() }).contains("at most"));
        }
        programs.begin("north", &good);
        let report = programs.part(&digest(&[7; 1000]), 0, &[8; 1000]).unwrap();
        assert!(report.reason.unwrap().contains("another SHA-256"));
        assert_eq!(programs.part(&digest(&[7; 1000]), 0, &[7; 1000]), None);
    }
}

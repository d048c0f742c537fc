//! `[[node]]`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use eyot_core::node::NODES_MAX;
use eyot_wire::manifest::is_name;

use super::read::Walk;
use super::section::{At, Section};
use crate::board::{self, FunctionBudget};
use crate::mqtt::transport::Endpoint;
use crate::node::{program, Module, Node, Port};

const BAUD: u32 = 115_200;
const BAUDS: RangeInclusive<u32> = 300..=4_000_000;

impl Walk<'_> {
    pub(super) fn nodes(&mut self, root: &mut Section<'_, '_>) -> Vec<Node> {
        let mut nodes: Vec<Node> = Vec::new();
        for (index, mut section) in root.tables(&mut self.reader, "node").into_iter().enumerate() {
            if index == NODES_MAX {
                self.reader.problem(section.span(), "node", format!("one too many; at most {NODES_MAX}"));
                break;
            }
            let id = self.node_id(&mut section, &nodes);
            let port = self.node_port(&mut section);
            let board = self.node_board(&mut section);
            let module = self.node_module(&mut section, board.as_ref().map(|(_, budget)| budget));
            let program = self.node_program(&mut section);
            section.finish(&mut self.reader);
            if let Some(port) = port {
                nodes.push(Node { id, port, board, module, program });
            }
        }
        nodes
    }

    fn node_id(&mut self, section: &mut Section<'_, '_>, nodes: &[Node]) -> String {
        let Some(At { value: id, span }) = section.string(&mut self.reader, "id") else {
            let remedy = "is missing; name the node, for example \"north\"";
            self.reader.problem(section.span(), section.key("id"), remedy);
            return String::new();
        };
        let reason = if !is_name(id) {
            "is not a name; write 1 to 32 characters of a-z, 0-9 and -"
        } else if nodes.iter().any(|other| other.id == id) {
            "is the name of another node; choose another"
        } else {
            return id.to_owned();
        };
        self.reader.problem(&span, section.key("id"), format!("\"{id}\" {reason}"));
        id.to_owned()
    }

    fn node_port(&mut self, section: &mut Section<'_, '_>) -> Option<Port> {
        let has_baud = section.has("baud");
        let baud = self.node_baud(section);
        let Some(At { value: port, span }) = section.string(&mut self.reader, "port") else {
            let remedy = "is missing; write \"/dev/ttyUSB0\", or \"tcp://host:port\"";
            self.reader.problem(section.span(), section.key("port"), remedy);
            return None;
        };
        let Some(address) = port.strip_prefix("tcp://") else {
            if port.starts_with('/') && !port.contains('\0') {
                return Some(Port::Serial { path: port.into(), baud });
            }
            let remedy = "is no line; write the device's path, as \"/dev/ttyUSB0\", or \"tcp://host:port\"";
            self.reader.problem(&span, section.key("port"), format!("\"{port}\" {remedy}"));
            return None;
        };
        if has_baud {
            let reason = "has no effect on tcp://; remove it";
            self.reader.problem(&section.span_of("baud"), section.key("baud"), reason);
        }
        // As a broker's, but for its scheme, and the port that must be said.
        let broker = format!("mqtt://{address}");
        match super::url::parse(&broker) {
            Ok(url) if url.path.is_empty() && url.port.is_some() => {
                Some(Port::Tcp(Endpoint { host: url.host.to_owned(), port: url.port?, tls: None }))
            }
            _ => {
                let remedy = "names no host and port; write for example \"tcp://127.0.0.1:5555\"";
                self.reader.problem(&span, section.key("port"), format!("\"{port}\" {remedy}"));
                None
            }
        }
    }

    fn node_baud(&mut self, section: &mut Section<'_, '_>) -> u32 {
        section.whole(&mut self.reader, "baud", BAUDS, BAUD)
    }

    fn node_board(&mut self, section: &mut Section<'_, '_>) -> Option<(String, FunctionBudget)> {
        let At { value: board, span } = section.string(&mut self.reader, "board")?;
        match board::find(board) {
            Ok(budget) => Some((board.to_owned(), budget)),
            Err(reason) => {
                self.reader.problem(&span, section.key("board"), reason);
                None
            }
        }
    }

    fn node_module(
        &mut self,
        section: &mut Section<'_, '_>,
        board: Option<&FunctionBudget>,
    ) -> Option<(Module, PathBuf)> {
        let At { value: path, span } = section.string(&mut self.reader, "function")?;
        let path = self.base.join(path);
        let module = Module::load(&path).and_then(|module| {
            board
                .map_or(Ok(()), |board| module.fit(board))
                .map_err(|reason| format!("{} does not fit: {reason}", path.display()))?;
            Ok(module)
        });
        match module {
            Ok(module) => Some((module, path)),
            Err(reason) => {
                self.reader.problem(&span, section.key("function"), reason);
                None
            }
        }
    }

    fn node_program(&mut self, section: &mut Section<'_, '_>) -> Option<Module> {
        let At { value: path, span } = section.string(&mut self.reader, "program")?;
        let program = program::load(&self.base.join(path));
        program.map_err(|reason| self.reader.problem(&span, section.key("program"), reason)).ok()
    }
}

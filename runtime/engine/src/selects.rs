//! Keeps `select` apart from the comparison with zero before it, which wasmi 2.0.0 joins wrongly.
//!
//! Where `i32.eqz`, or `i32.eq` or `i32.ne` with zero, gives a `select` its condition, wasmi drops the comparison and swaps the
//! operands instead. If what is compared is a local, it then takes whatever a register holds for the condition, not the local:
//! `(select (i32.const 3) (i32.const 7) (i32.eqz (local.get 0)))` came to 3 for a local of 4. With an `i32.and` between the two,
//! which changes nothing for a comparison, there is nothing to join.

use alloc::vec::Vec;

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::error::LoadError;
use crate::rewrite::{push_len, push_u32, replace_section};
use crate::scan::{invalid, PREAMBLE_BYTES};

const SECTION_CODE: u8 = 10;
/// `i32.const 1`, `i32.and`
const APART: [u8; 3] = [0x41, 1, 0x71];

/// Watches the instructions of a function.
#[derive(Default)]
pub(crate) struct Selects {
    /// How many values lie above the result of a comparison; none if something else was computed since.
    above: Option<u32>,
}

impl Selects {
    /// Whether this instruction is a `select` whose condition is the comparison before it.
    pub(crate) fn is_bad(&mut self, operator: &Operator<'_>) -> bool {
        let above = self.above;
        self.above = match operator {
            Operator::I32Eqz | Operator::I32Eq | Operator::I32Ne => Some(0),
            Operator::Nop => above,
            // What takes no instruction in wasmi.
            Operator::I32Const { .. }
            | Operator::I64Const { .. }
            | Operator::F32Const { .. }
            | Operator::F64Const { .. }
            | Operator::LocalGet { .. } => above.and_then(|above| above.checked_add(1)),
            Operator::Drop => above.and_then(|above| above.checked_sub(1)),
            _ => None,
        };
        above == Some(0) && matches!(operator, Operator::Select | Operator::TypedSelect { .. })
    }
}

/// The module with something between each such pair.
pub(crate) fn part(wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let (mut content, mut section_end, mut code) = (Vec::new(), PREAMBLE_BYTES, PREAMBLE_BYTES..PREAMBLE_BYTES);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(invalid)?;
        let header = section_end;
        if let Some((_, range)) = payload.as_section() {
            section_end = range.end;
        }
        match payload {
            Payload::CodeSectionStart { count, range, .. } => {
                code = header..range.end;
                push_u32(&mut content, count);
            }
            Payload::CodeSectionEntry(body) => {
                let body = part_body(wasm, &body)?;
                push_len(&mut content, body.len());
                content.extend_from_slice(&body);
            }
            _ => {}
        }
    }
    let parted = replace_section(wasm, code, SECTION_CODE, &content);
    parted.ok_or_else(|| LoadError::Invalid("its code section ends behind it".into()))
}

fn part_body(wasm: &[u8], body: &FunctionBody<'_>) -> Result<Vec<u8>, LoadError> {
    let (range, mut selects, mut out) = (body.range(), Selects::default(), Vec::new());
    let mut copied = range.start;
    for operator in body.get_operators_reader().map_err(invalid)?.into_iter_with_offsets() {
        let (operator, at) = operator.map_err(invalid)?;
        if selects.is_bad(&operator) {
            out.extend_from_slice(wasm.get(copied..at).unwrap_or_default());
            out.extend_from_slice(&APART);
            copied = at;
        }
    }
    out.extend_from_slice(wasm.get(copied..range.end).unwrap_or_default());
    Ok(out)
}

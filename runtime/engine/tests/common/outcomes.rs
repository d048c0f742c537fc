//! What comes of captures, to be compared with what comes of them elsewhere.

use std::collections::BTreeMap;

use eyot_engine::{Function, Invocation, LoadOptions, State};
use eyot_wire::capture::Capture;

/// A line for each capture: what came of it, and the fuel that took.
pub fn outcomes(wasm: &[u8], captures: &[u8]) -> Result<String, String> {
    let mut function = Function::load(wasm, LoadOptions::default()).map_err(|e| e.to_string())?;
    let (mut lines, mut rest) = (String::new(), captures);
    while !rest.is_empty() {
        let (capture, more) = Capture::decode(rest).map_err(|e| e.to_string())?;
        rest = more;
        *function.state_mut() = State::from(capture.state.iter().flatten().cloned().collect::<BTreeMap<_, _>>());
        let Capture { ref topic, ref payload, now_ms, seed, .. } = capture;
        let result = function.invoke(&Invocation { topic, payload, now_ms, seed }).map(|_| ());
        let outcome = function.effects().outcome(result);
        let encoded = Capture { outcome, ..capture }.encode().ok_or("an outcome is too long")?;
        encoded.iter().for_each(|byte| lines.push_str(&format!("{byte:02x}")));
        lines.push_str(&format!(" {}\n", function.fuel_spent()));
    }
    Ok(lines)
}

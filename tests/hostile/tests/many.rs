//! Many functions at once: what a gateway takes for them.

#![allow(clippy::panic, clippy::unwrap_used)] // clippy knows a test by its attribute, and not the functions it calls

use eyot_test_e2e::guest::{save, with_manifest, Manifest};
use eyot_test_e2e::site::Site;
use eyot_test_hostile::guest::{resident_bytes, small};

const FUNCTIONS: usize = 1000;
/// What a gateway with so many functions may take.
const MOST_BYTES: u64 = 125_000_000;

#[test]
fn a_thousand_small_functions_fit() {
    let mut site = Site::new("many");
    let wasm = small();
    for number in 0..FUNCTIONS {
        let mut manifest = Manifest::new(&format!("function-{number}"));
        manifest.triggers = vec![format!("in/{number}")];
        site.config.functions.push(save(site.dir(), &manifest.name, &with_manifest(&wasm, &manifest.text())));
    }
    let daemon = site.start();
    let mut client = site.client("many");
    for number in 0..FUNCTIONS {
        client.publish(&format!("in/{number}"), "payload");
    }
    site.await_status("each of them to have run", |status| {
        let functions = status["functions"].as_array().unwrap();
        functions.len() == FUNCTIONS && functions.iter().all(|function| function["invocations"] == 1)
    });
    let resident = resident_bytes(daemon.pid());
    assert!(resident <= MOST_BYTES, "{resident} bytes");
}

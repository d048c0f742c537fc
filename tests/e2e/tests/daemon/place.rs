//! `eyot place --gateway`: what a gateway that runs, and its nodes, have room for.

use std::fs;
use std::path::Path;

use eyot_test_e2e::guest::{save, with_manifest, Manifest};
use eyot_test_e2e::site::Site;
use serde_json::Value;

use crate::node::{self, ECHO};
use crate::tool::run;

/// A function for the small memory of a node that expects ten messages a second, each of at most so much fuel.
fn module(dir: &Path, name: &str, version: &str, fuel: u64) -> String {
    let manifest = Manifest { version: version.into(), limits: format!("fuel = {fuel}"), ..Manifest::new(name) };
    let text = manifest.text().replace("mqtt = \"in/#\"", "mqtt = \"in/#\"\nrate = \"10/s\"");
    let wasm = wat::parse_str(node::wat("out/", ECHO)).unwrap();
    let path = save(dir, &format!("{name}-{version}-{fuel}"), &with_manifest(&wasm, &text));
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn place<'a>(report: &'a Value, name: &str) -> &'a Value {
    let places = report["places"].as_array().unwrap();
    places.iter().find(|place| place["name"] == name).unwrap_or_else(|| panic!("{name} is not there: {report}"))
}

#[track_caller]
fn demand(place: &Value, of: &str) -> [u64; 2] {
    let demands = place["demands"].as_array().unwrap();
    let demand = demands.iter().find(|demand| demand["of"] == of).unwrap_or_else(|| panic!("no {of}: {place}"));
    ["needs", "has"].map(|key| demand[key].as_u64().unwrap())
}

#[test]
fn a_function_is_told_whether_a_gateway_that_runs_and_its_nodes_have_room_for_it() {
    let mut site = Site::new("room");
    let first = module(site.dir(), "first", "1.0.0", 1_000_000);
    site.config.functions = vec![first.clone().into()];
    let node = |id: &str, more: &str| format!("[[node]]\nid = \"{id}\"\nport = \"tcp://127.0.0.1:1\"\n{more}\n");
    let nodes = [node("north", "board = \"mps2-an505\""), node("south", &format!("function = {first:?}"))].concat();
    site.config.more = format!("\n[run]\nfuel_budget = \"15_000_000/s\"\n{nodes}");
    let mut daemon = site.start();
    // What a node was never there to confirm is not in force on it.
    site.await_status("a status with its nodes", |status| status["nodes"][1]["state"] == "staged");
    let fits = |module: &str, code| {
        let report = run(&site, &["place", module, "--gateway", "room", "--json"], code).json();
        let fits = ["room", "north", "south"].map(|name| place(&report, name)["fits"].as_bool().unwrap());
        (report, fits)
    };

    let (report, all) = fits(&module(site.dir(), "second", "1.0.0", 400_000), 0);
    assert_eq!(all, [true, true, false], "{report}");
    assert_eq!(demand(place(&report, "room"), "functions"), [2, 4096]);
    let [needs, has] = demand(place(&report, "room"), "fuel in a second");
    assert!((14_000_000..15_000_000).contains(&needs) && has == 15_000_000, "{report}");
    assert!(place(&report, "south")["reason"].as_str().unwrap().contains("names no board"), "{report}");

    // A new version takes the place of the one before.
    let (report, all) = fits(&module(site.dir(), "first", "1.1.0", 1_400_000), 0);
    assert_eq!((all, demand(place(&report, "room"), "functions")), ([true, false, false], [1, 4096]), "{report}");
    assert_eq!(demand(place(&report, "north"), "fuel"), [1_400_000, 1_000_000]);

    // What it says is what the gateway does.
    let large = module(site.dir(), "second", "1.0.0", 1_000_000);
    assert_eq!(fits(&large, 0).1, [false, true, false]);
    let shown = run(&site, &["place", &large, "-g", "room"], 0).stdout;
    assert!(shown.contains("fuel in a second: ") && shown.contains("more than the 15000000"), "{shown}");
    assert!(shown.contains("it is away, and gets it when it is back"), "{shown}");
    let refused = run(&site, &["push", &large, "--wait"], 1);
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("[run] fuel_budget"), "{}", refused.stdout);
    assert_eq!(fits(&module(site.dir(), "third", "1.0.0", 2_000_000), 1).1, [false; 3]);

    assert!(run(&site, &["place", &large, "-g", "other"], 1).stderr.contains("eyot list"));
    daemon.kill();
    site.await_status("its last will", |status| status["online"] == false);
    assert!(run(&site, &["place", &large, "-g", "room"], 1).stderr.contains("is offline"));
    fs::write(site.dir().join("no.wasm"), "no module").unwrap();
    run(&site, &["place", "no.wasm", "-g", "room"], 2);
}

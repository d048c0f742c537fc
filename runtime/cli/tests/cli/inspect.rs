//! `eyot inspect`.

use serde_json::json;

use crate::harness::{module, with_manifest, Folder, ECHO, MANIFEST};

#[test]
fn a_good_function() {
    let folder = Folder::new();
    folder.function(ECHO);
    folder.eyot(&["inspect", "fn.wasm"]).exits(0).prints(&[
        "sample 1.2.3: would be accepted",
        "in/#",
        "out/#",
        "eyot_handle",
        "eyot.emit",
        "sha256",
    ]);
    let report = folder.eyot(&["inspect", "fn.wasm", "--json"]).exits(0).json();
    assert_eq!(report["accepted"], true);
    assert_eq!(report["size_bytes"], folder.read("fn.wasm").len());
    assert_eq!(report["memory_bytes"], 524_288);
    assert_eq!(report["exports"], json!(["memory", "eyot_abi", "eyot_alloc", "eyot_handle"]));
    assert_eq!(report["imports"][0], "eyot.emit");
    let manifest = json!({
        "name": "sample", "version": "1.2.3", "triggers": [{"mqtt": "in/#", "rate_per_h": null}], "emit": ["out/#"],
        "config": {"greeting": "hello"}, "on_error": "dead-letter", "rollout": null,
        "limits": {
            "fuel": 1_000_000, "memory_bytes": 1_048_576, "output_bytes": 65_536, "state_bytes": 65_536,
            "deadline_ms": 1000
        }
    });
    assert_eq!(report["manifest"], manifest);
    assert!(report.get("error").is_none());
}

#[test]
fn what_it_expects_and_what_becomes_of_failures() {
    let folder = Folder::new();
    let manifest = "name = \"a\"\nversion = \"1.0.0\"\non_error = \"retry(3, 1s)\"\n[limits]\ndeadline = \"50ms\"\n\
                    [[trigger]]\nmqtt = \"in/#\"\nrate = \"6000/min\"\n[[trigger]]\nmqtt = \"on/#\"\n";
    folder.write("fn.wasm", with_manifest(&module(ECHO), manifest));
    folder.eyot(&["inspect", "fn.wasm"]).exits(0).prints(&[
        "in/# at 100/s  on/#\n",
        "deadline 50 ms",
        "retry(3, 1000ms)",
    ]);
    let report = folder.eyot(&["inspect", "fn.wasm", "--json"]).exits(0).json();
    let triggers = json!([{"mqtt": "in/#", "rate_per_h": 360_000}, {"mqtt": "on/#", "rate_per_h": null}]);
    assert_eq!(report["manifest"]["triggers"], triggers);
    assert_eq!(report["manifest"]["on_error"], "retry(3, 1000ms)");
    assert_eq!(report["manifest"]["limits"]["deadline_ms"], 50);
}

#[test]
fn what_would_be_refused_is_shown_all_the_same() {
    let folder = Folder::new();
    for (wasm, reason) in [
        (module(ECHO), "eyot.manifest"),
        (with_manifest(&module(ECHO), "name = 1"), "function.toml"),
        (with_manifest(&module(ECHO), &MANIFEST.replace("[config]", "[limits]\nmemory=\"1GiB\"\n[config]")), "granted"),
        (wat::parse_str("(module (import \"wasi\" \"x\" (func)) (memory (export \"memory\") 1))").unwrap(), "wasi.x"),
    ] {
        folder.write("fn.wasm", wasm);
        folder
            .eyot(&["inspect", "fn.wasm"])
            .exits(1)
            .says(&["fn.wasm: ", reason])
            .prints(&["would be refused", "size"]);
        let report = folder.eyot(&["inspect", "fn.wasm", "--json"]).exits(1).json();
        assert_eq!((&report["accepted"], &report["error"]["kind"]), (&json!(false), &json!("refused")));
        assert!(report["error"]["message"].as_str().unwrap().contains(reason));
    }
}

#[test]
fn what_is_no_module_is_exit_code_2() {
    let folder = Folder::new();
    folder.write("fn.wasm", "hello");
    folder.eyot(&["inspect", "fn.wasm"]).exits(2).says(&["fn.wasm: is not WebAssembly"]);
    let cut = &module(ECHO)[..60];
    folder.write("fn.wasm", cut);
    let report = folder.eyot(&["inspect", "fn.wasm", "--json"]).exits(2).says(&["fn.wasm: "]).json();
    assert_eq!(report["error"]["kind"], "bad-input");
}

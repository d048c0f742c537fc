//! The checked-in examples: built anew, they do the same.

use std::fs;
use std::path::{Path, PathBuf};

use crate::build::built;
use crate::harness::{output, Folder, Output};

fn functions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions").canonicalize().unwrap()
}

/// Readings that take every branch: in and out of range, malformed, empty, not UTF-8, over several sensors.
fn readings() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut lines = Vec::new();
    for n in 0..400 {
        let (t, rh) = (rng.f64() * 60.0 - 20.0, rng.f64() * 110.0);
        let line = match n % 40 {
            37 => r#"{"device":"d","t":"warm","rh":1,"ts":1}"#.to_owned(),
            38 => format!(r#"{{"device":"d","t":{t:.3},"#),
            39 => String::from("{}"),
            _ => format!(r#"{{"device":"d-{}","t":{t:.2},"rh":{rh:.1},"ts":{n}}}"#, n % 5),
        };
        lines.extend_from_slice(line.as_bytes());
        lines.push(b'\n');
    }
    lines
}

fn effects(folder: &Folder, module: &str) -> Vec<serde_json::Value> {
    let args =
        ["run", module, "-t", "sensors/7/raw", "-f", "readings", "--lines", "--json", "--now-ms", "1700000000000"];
    let output: Output = folder.eyot(&args);
    let mut reports: Vec<serde_json::Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 400, "stderr: {}", output.stderr);
    for report in &mut reports {
        // Time differs from run to run; code, and so fuel and memory, from compiler to compiler.
        for key in ["function", "fuel", "memory_bytes", "time_ns"] {
            report.as_object_mut().unwrap().remove(key);
        }
    }
    reports
}

#[test]
fn examples_built_anew_do_what_the_checked_in_ones_do() {
    let folder = Folder::new();
    folder.write("readings", readings());
    for name in ["celsius", "smooth", "alarm"] {
        let source = functions().join(name);
        fs::copy(source.join(format!("{name}.wasm")), folder.path().join("old.wasm")).unwrap();
        let mut command = folder.command(&["build", source.to_str().unwrap(), "--out", "new.wasm"]);
        command.env("CARGO_TARGET_DIR", folder.path().join("target"));
        let Some(built) = built("examples_built_anew_do_what_the_checked_in_ones_do", output(command)) else { return };
        built.prints(&[name]);
        let (old, new) = (effects(&folder, "old.wasm"), effects(&folder, "new.wasm"));
        assert!(old.iter().any(|r| r["emits"].as_array().is_some_and(|e| !e.is_empty())), "{name} emits: {}", old[0]);
        assert!(old.iter().any(|r| r.get("error").is_some()), "{name} fails on malformed readings");
        for (index, (old, new)) in old.iter().zip(&new).enumerate() {
            assert_eq!(old, new, "{name}, reading {index}: rebuild functions/{name}/{name}.wasm with eyot build");
        }
    }
}

//! The Debian package as a gateway's owner has it: installed, upgraded, removed and purged by apt, run by systemd, in a
//! container that boots a Debian of its own. `tests/run.sh package` makes what this needs: packages of two revisions in
//! `EYOT_PACKAGES`, and an archive of Debian's files as `EYOT_DEBIAN`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use eyot_test_e2e::programs::root;
use eyot_test_e2e::wait::{wait_for, STEP};
use serde_json::Value;
use tempfile::TempDir;

/// Patience with a Debian that boots, and with apt, on a busy machine.
const SLOW: Duration = Duration::from_secs(120);
/// A cloud that is not there, and later is.
const CLOUD_PORT: &str = "1999";
const READINGS: usize = 100;

/// A running Debian. Dropping it switches it off.
struct Container {
    nspawn: Child,
    /// Its first process, as this machine sees it.
    init: String,
    dir: TempDir,
}

impl Container {
    /// None without what it takes, which is said.
    fn boot() -> Option<Self> {
        let (Some(packages), Some(debian)) = (env::var_os("EYOT_PACKAGES"), env::var_os("EYOT_DEBIAN")) else {
            println!("SKIPPED: no EYOT_PACKAGES and EYOT_DEBIAN; use tests/run.sh package");
            return None;
        };
        let dir = TempDir::new().unwrap();
        let unpacked = Command::new("tar").arg("-xf").arg(debian).arg("-C").arg(dir.path()).status().unwrap();
        assert!(unpacked.success());
        for entry in fs::read_dir(packages).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), dir.path().join("root").join(entry.file_name())).unwrap();
        }
        let function = root().join("functions/celsius/celsius.wasm");
        fs::copy(function, dir.path().join("root/celsius.wasm")).unwrap();
        let nspawn = Command::new("systemd-nspawn")
            .args(["--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", "--directory"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("systemd-nspawn starts");
        let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
        let init = wait_for("a container's first process", STEP, || {
            let pid = fs::read_to_string(&children).ok()?.split_whitespace().next()?.to_owned();
            fs::read_to_string(format!("/proc/{pid}/comm")).ok().filter(|name| name.trim() == "systemd").map(|_| pid)
        });
        let container = Self { nspawn, init, dir };
        container.await_output("Debian to be up", "systemctl is-system-running", |said| {
            ["running", "degraded"].contains(&said.trim())
        });
        Some(container)
    }

    fn shell(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.init, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"]);
        command.args(["PATH=/usr/sbin:/usr/bin", "sh", "-c", script]).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// What `script` prints; it must do well.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let done = self.shell(script);
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "{script}: {said}\n{}", self.journal());
        said
    }

    #[track_caller]
    fn await_output(&self, what: &str, script: &str, good: impl Fn(&str) -> bool) {
        wait_for(what, SLOW, || good(&String::from_utf8_lossy(&self.shell(script).stdout)).then_some(()));
    }

    fn journal(&self) -> String {
        String::from_utf8_lossy(&self.shell("journalctl --no-pager -u eyotd -n 30").stdout).into_owned()
    }

    /// Waits for a status of which `good` is true.
    #[track_caller]
    fn await_status(&self, what: &str, good: impl Fn(&Value) -> bool) {
        let script = "mosquitto_sub -h 127.0.0.1 -t eyot/barn-7/status -C 1 -W 5";
        self.await_output(what, script, |said| serde_json::from_str(said).is_ok_and(|status| good(&status)));
    }

    fn exists(&self, path: &str) -> bool {
        self.dir.path().join(path).exists()
    }

    fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show --property {name} --value eyotd")).trim().to_owned()
    }

    #[track_caller]
    fn install(&self, revision: u32) {
        let package = format!("/root/eyot_{}-{revision}_amd64.deb", env!("CARGO_PKG_VERSION"));
        self.run(&format!("apt-get install -y --no-install-recommends {package}"));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the journal ---\n{}", self.journal());
        }
        // SIGKILL to a container's first process ends all of it.
        let _ = Command::new("kill").args(["-KILL", &self.init]).status();
        let _ = self.nspawn.wait();
    }
}

/// With what a gateway's owner adds to the file of the package.
fn configure(container: &Container) {
    let more = format!(
        "\n[[uplink]]\nname = \"cloud\"\nurl = \"mqtt://127.0.0.1:{CLOUD_PORT}\"\ntopics = [\"processed/#\"]\n\
         [[function]]\npath = \"/etc/eyot/celsius.wasm\"\n"
    );
    let file: PathBuf = container.dir.path().join("etc/eyot/gateway.toml");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("# id = ", "id = ")
        .replace("data_dir = \"/var/lib/eyot\"", "data_dir = \"/var/lib/eyot\"\nstatus_interval = \"1s\"");
    fs::write(&file, text + &more).unwrap();
    container.run("cp /root/celsius.wasm /etc/eyot/ && eyotd --check && systemctl restart eyotd");
}

fn is_waiting(status: &Value) -> bool {
    status["online"] == true && status["ledger"]["pending"] == READINGS
}

/// The service starts with the file as it comes, as an ordinary user, and can do what it must and no more.
fn starts_at_once_and_is_confined(container: &Container) {
    container.install(1);
    assert_eq!(container.run("eyotd --check").trim(), "ok");
    assert_eq!(container.property("ActiveState"), "active");
    let status = container.run("cat /proc/$(systemctl show --property MainPID --value eyotd)/status");
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(!status.contains("Uid:\t0"), "{status}");
    assert!(container
        .run("bash -c '. /usr/share/bash-completion/completions/eyot; complete -p eyot'")
        .contains("_eyot"));
    assert!(container.run("eyot --version; eyotd --version").contains(env!("CARGO_PKG_VERSION")));
}

fn systemd_looks_after_it(container: &Container) {
    let first = container.property("MainPID");
    container.run(&format!("kill -STOP {first}"));
    container.await_output(
        "systemd to replace a daemon that hangs",
        "systemctl show --property MainPID --value eyotd",
        {
            let first = first.clone();
            move |pid| !["0", &first].contains(&pid.trim())
        },
    );
    container.await_status("the new one", |status| status["online"] == true);
    let file: &Path = &container.dir.path().join("etc/eyot/gateway.toml");
    let good = fs::read_to_string(file).unwrap();
    fs::write(file, good.replace("[gateway]", "[gatewai]")).unwrap();
    assert!(!container.shell("systemctl restart eyotd").status.success());
    assert_eq!(
        (container.property("ActiveState"), container.property("ExecMainStatus")),
        ("failed".into(), "2".into())
    );
    fs::write(file, good).unwrap();
    container.run("systemctl restart eyotd");
}

#[test]
fn a_package_is_installed_upgraded_removed_and_purged_and_loses_nothing_unasked() {
    let Some(container) = Container::boot() else { return };
    starts_at_once_and_is_confined(&container);
    configure(&container);
    container.await_status("a gateway that listens", |status| status["subscribed"] == true);
    let reading = "{\"device\":\"7\",\"t\":21.5,\"rh\":40,\"ts\":1}";
    container
        .run(&format!("yes '{reading}' | head -n {READINGS} | mosquitto_pub -h 127.0.0.1 -q 1 -l -t sensors/7/raw"));
    container.await_status("results that wait", is_waiting);
    systemd_looks_after_it(&container);

    let before = container.property("MainPID");
    container.install(2);
    assert_ne!(container.property("MainPID"), before, "the new version runs");
    container.await_status("results that still wait, after an upgrade", is_waiting);

    container.run("apt-get remove -y eyot");
    assert!(!container.exists("usr/bin/eyotd"));
    assert!(container.run("pgrep -x eyotd || echo none").contains("none"));
    container.install(2);
    container.await_status("results that still wait, after removing it", is_waiting);

    container.run(&format!("mosquitto -d -p {CLOUD_PORT}"));
    container.await_status("all to be delivered", |status| {
        status["ledger"]["pending"] == 0 && status["ledger"]["received"] == READINGS
    });
    container.run("apt-get purge -y eyot");
    assert!(!container.exists("etc/eyot/gateway.toml"));
    assert!(container.exists("var/lib/eyot/lock"), "data is kept unless its owner says otherwise");
    container.install(1);
    container.run("echo eyot eyot/remove-data boolean true | debconf-set-selections && apt-get purge -y eyot");
    assert!(!container.exists("var/lib/eyot"), "its owner said otherwise");
}

//! Wi-Fi, in images that were asked for it, with radios that the kernel simulates: one is the gateway's, and the test makes the
//! other an access point, by a shell.

use std::fs;
use std::path::Path;

use eyot_test_e2e::wait::wait_for;
use tempfile::TempDir;

use crate::board::VIRT;
use crate::machine::{build, Machine, BOOT};
use crate::shell::Shell;

/// An access point with this passphrase, and a DHCP server behind it.
fn access_point(passphrase: &str) -> String {
    format!(
        r#"
printf 'network={{\nssid="the barn"\nmode=2\nfrequency=2412\nkey_mgmt=WPA-PSK\nproto=RSN\npairwise=CCMP\npsk="{passphrase}"\n}}\n' > /run/ap.conf
printf 'start 10.66.0.10\nend 10.66.0.20\ninterface wlan1\nlease_file /run/leases\n' > /run/dhcp.conf
busybox touch /run/leases
[ ! -e /run/ap.pid ] || busybox kill $(busybox cat /run/ap.pid)
while [ -e /run/ap.pid ]; do busybox usleep 100000; done
wpa_supplicant -B -P /run/ap.pid -i wlan1 -D nl80211 -c /run/ap.conf && busybox ip addr replace 10.66.0.1/24 dev wlan1"#
    )
}

#[test]
fn a_gateway_joins_the_wifi_that_its_card_names() {
    let Some(programs) = VIRT.programs() else { return };
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let shell = Shell::new(dir.path());
    fs::write(at("passphrase"), "correct horse\n").unwrap();
    let (keys, passphrase, card) = (at("ada.pub"), at("passphrase"), at("card.img"));
    let more =
        ["--ssh-key", &keys, "--wifi", "the barn", "--wifi-passphrase-file", &passphrase, "--wifi-country", "DE"];
    if build(&VIRT, &programs, Path::new(&card), &more).is_none() {
        return;
    }
    let machine = Machine::start(&VIRT, dir.path(), Path::new(&card));
    machine.says("has the address");
    let run = |command: &str| shell.run(&machine, "ada", command);
    let there = "ls -d /sys/class/net/wlan1/phy80211";
    wait_for("a shell, and the radios", BOOT, || (run(there).0 == Some(0)).then_some(()));

    let (code, said) = run(&access_point("something else"));
    assert_eq!(code, Some(0), "{said}");
    machine.says("pre-shared key may be incorrect");
    assert!(!machine.console().contains("wlan0 has the address"), "{}", machine.console());

    let (code, said) = run(&format!("{}; busybox udhcpd -S /run/dhcp.conf", access_point("correct horse")));
    assert_eq!(code, Some(0), "{said}");
    machine.says("wlan0 has the address 10.66.0.1");
    assert_eq!(run("cat /sys/class/net/wlan0/operstate"), (Some(0), "up\n".to_owned()));
    machine.press_button();
}

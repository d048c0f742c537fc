//! `gateway.toml`: the contract's example is read, and everything wrong is found, placed and explained.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use eyot_core::config::{Order, Priority};
use eyot_gateway::config::{
    BrokerAt, Config, ConfigError, UplinkAt, WhenFull, FILE_MAX_BYTES, PROBLEMS_MAX, PROBLEM_MAX_CHARS,
};
use eyot_gateway::mqtt::Version;

const CONTRACT: &str = r#"
[gateway]
id = "barn-7"                          # default: host name
data_dir = "/var/lib/eyot"

[broker]                               # where the sensors are
url = "mqtt://127.0.0.1:1883"
protocol = 5                           # or 4 for MQTT 3.1.1

[[uplink]]                             # zero or more clouds
name = "cloud"
url = "mqtt://cloud.example:8883"
topics = ["cloud/#"]

[spool]
max_bytes = "512MiB"
when_full = "drop-oldest"              # or "drop-newest", "block"
commit_window = "10ms"

[trust]
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEvK4mPjw7bFrrmfuyr9Hb7GYq6sLkhRbyFrzDhCbPzX ada@lab"]
allow_unsigned = false

[[function]]                           # optional: functions present at first boot
path = "celsius.wasm"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/eyot/gateway.toml"), text)
}

#[test]
fn the_contract_example_is_read() {
    let config = parse(CONTRACT).unwrap();
    assert_eq!((config.id.as_str(), config.data_dir.to_str()), ("barn-7", Some("/var/lib/eyot")));
    assert!(matches!(&config.broker.at, BrokerAt::Remote(e) if e.address() == "127.0.0.1:1883" && e.tls.is_none()));
    assert_eq!((config.broker.version, config.broker.receive_max), (Version::V5, 8192));
    let cloud = &config.uplinks[0];
    assert_eq!((cloud.name.as_str(), cloud.delivery.topics[0].as_str()), ("cloud", "cloud/#"));
    let UplinkAt::Mqtt(mqtt) = &cloud.at else { panic!("{cloud:?}") };
    assert_eq!((mqtt.endpoint.address().as_str(), mqtt.inflight, mqtt.envelope), ("cloud.example:8883", 500, false));
    assert_eq!((config.spool.max_bytes, config.spool.when_full), (512 << 20, WhenFull::DropOldest));
    assert_eq!(config.spool.commit_window, Duration::from_millis(10));
    assert_eq!((config.trust.grants.len(), config.trust.allow_unsigned), (1, false));
    assert_eq!(config.functions[0].path, Path::new("/etc/eyot/celsius.wasm"));
    assert_eq!(config.functions[0].line, 25);
}

#[test]
fn almost_everything_has_a_default() {
    let config = parse("[broker]\nurl = \"embedded://127.0.0.1\"\n[gateway]\nid='x'").unwrap();
    assert!(matches!(config.broker.at, BrokerAt::Embedded(addr) if addr.port() == 1883));
    assert_eq!((config.uplinks.len(), config.functions.len()), (0, 0));
    let config = parse("[broker]\nurl = \"mqtt://b\"\nprotocol = 4").unwrap();
    assert_eq!(config.broker.version, Version::V4);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(config.id, host.trim());
}

/// What to change in the example, and the line, key and words of the complaint.
const BROKEN: &[(&str, &str, usize, &str, &str)] = &[
    ("barn-7", "barn/7", 3, "gateway.id", "without / + #"),
    ("barn-7", "@all", 3, "gateway.id", "@ in front"),
    ("barn-7", "", 3, "gateway.id", "1 to 64 bytes"),
    ("id = \"barn-7\"", "id = 7", 3, "gateway.id", "is an integer; write a string"),
    ("data_dir", "datadir", 4, "gateway.datadir", "did you mean \"data_dir\"?"),
    ("[broker]", "[brocker]", 6, "brocker", "did you mean \"broker\"?"),
    ("[broker]", "[brocker]", 1, "broker", "is missing"),
    ("mqtt://127.0.0.1:1883", "127.0.0.1", 7, "broker.url", "is not a URL"),
    ("mqtt://127.0.0.1:1883", "mqtt://u:p@h", 7, "broker.url", "never inline"),
    ("mqtt://127.0.0.1:1883", "https://h", 7, "broker.url", "no broker"),
    ("url = \"mqtt://127.0.0.1:1883\"", "", 6, "broker.url", "is missing"),
    ("mqtt://127.0.0.1:1883", "embedded://localhost", 7, "broker.url", "needs an address"),
    ("mqtt://127.0.0.1:1883", "mqtt://h:0", 7, "broker.url", "no valid port"),
    ("mqtt://127.0.0.1:1883", "mqtt://h:+5", 7, "broker.url", "no valid port"),
    ("mqtt://127.0.0.1:1883", "mqtt://[foo]", 7, "broker.url", "names no host"),
    ("mqtt://127.0.0.1:1883", "mqtts://-.-", 7, "broker.url", "in no certificate"),
    ("/var/lib/eyot", "", 4, "gateway.data_dir", "is empty"),
    ("/var/lib/eyot", "/var\\u0000lib", 4, "gateway.data_dir", "NUL"),
    ("/var/lib/eyot", "/dev/null", 4, "gateway.data_dir", "is no directory"),
    ("/var/lib/eyot", "/dev/null/eyot", 4, "gateway.data_dir", "as /dev/null is no directory"),
    ("/var/lib/eyot", "/proc/1", 4, "gateway.data_dir", "is the kernel's"),
    ("/var/lib/eyot", "/sys/nothing/../eyot", 4, "gateway.data_dir", "is the kernel's"),
    ("protocol = 5", "username = \"a\\nb\"", 8, "broker.username", "is no user name"),
    ("protocol = 5", "pasword_file = \"x\"", 8, "broker.pasword_file", "did you mean \"password_file\"?"),
    ("protocol = 5", "protocol = 3", 8, "broker.protocol", "from 4 to 5"),
    ("protocol = 5", "protocol = \"5\"", 8, "broker.protocol", "is a string; write a whole number"),
    ("protocol = 5", "receive_max = 70000", 8, "broker.receive_max", "from 1 to 65535"),
    ("protocol = 5", "password = \"x\"", 8, "broker.password", "never inline"),
    ("protocol = 5", "password_file = \"nowhere\"", 8, "broker.password_file", "cannot read /etc/eyot/nowhere"),
    ("protocol = 5", "password_env = \"EYOT_NOT_SET\"", 8, "broker.password_env", "no variable \"EYOT_NOT_SET\""),
    ("protocol = 5", "username = \"\"", 8, "broker.username", "is no user name"),
    ("protocol = 5", "client_id = \"\"", 8, "broker.client_id", "printable"),
    ("protocol = 5", "tls = { ca = \"x\" }", 8, "broker.tls", "no effect on mqtt://"),
    ("name = \"cloud\"", "name = \"local\"", 11, "uplink.name", "local broker"),
    ("name = \"cloud\"", "name = \"The Cloud\"", 11, "uplink.name", "a-z, 0-9 and -"),
    ("name = \"cloud\"", "", 10, "uplink.name", "is missing"),
    ("mqtt://cloud.example:8883", "ftp://cloud.example", 12, "uplink.url", "mqtt, mqtts, http, https, s3, file"),
    ("mqtt://cloud.example:8883", "embedded://0.0.0.0:1", 12, "uplink.url", "not in this process"),
    ("topics = [\"cloud/#\"]", "topics = [\"cloud/#/x\"]", 13, "uplink.topics", "misplaced wildcard"),
    ("topics = [\"cloud/#\"]", "topics = []", 13, "uplink.topics", "missing or empty"),
    ("topics = [\"cloud/#\"]", "topics = [1]", 13, "uplink.topics", "quote it"),
    ("topics = [\"cloud/#\"]", "envelope = \"xml\"", 13, "uplink.envelope", "write \"json\""),
    ("topics = [\"cloud/#\"]", "inflight = 0", 13, "uplink.inflight", "from 1 to 32768"),
    ("topics = [\"cloud/#\"]", "rate = 100", 13, "uplink.rate", "is an integer; write a string"),
    ("topics = [\"cloud/#\"]", "rate = \"100\"", 13, "uplink.rate", "\"100/s\""),
    ("topics = [\"cloud/#\"]", "rate = \"0/s\"", 13, "uplink.rate", "1 to 1000000"),
    ("topics = [\"cloud/#\"]", "ttl = \"7\"", 13, "uplink.ttl", "not a duration"),
    ("topics = [\"cloud/#\"]", "ttl = \"1ms\"", 13, "uplink.ttl", "at least 1s"),
    ("topics = [\"cloud/#\"]", "max_backlog = \"1KiB\"", 13, "uplink.max_backlog", "at least 64 KiB"),
    ("topics = [\"cloud/#\"]", "max_backlog = \"x\"", 13, "uplink.max_backlog", "not a size"),
    ("topics = [\"cloud/#\"]", "when_full = \"x\"", 13, "uplink.when_full", "\"drop-newest\""),
    ("topics = [\"cloud/#\"]", "order = \"x\"", 13, "uplink.order", "\"live-first\""),
    ("topics = [\"cloud/#\"]", "[[uplink.route]]", 13, "uplink.route.name", "is missing"),
    ("topics = [\"cloud/#\"]", "[[uplink.route]]\nname = \"A\"", 14, "uplink.route.name", "a-z, 0-9 and -"),
    ("topics = [\"cloud/#\"]", "[[uplink.route]]\nname = \"a\"", 13, "uplink.route.topics", "missing or empty"),
    ("topics = [\"cloud/#\"]", "[[uplink.route]]\npriority = \"top\"", 14, "uplink.route.priority", "\"high\""),
    (
        "topics = [\"cloud/#\"]",
        "[[uplink.route]]\nprio = \"low\"",
        14,
        "uplink.route.prio",
        "use one of: name, topics, priority, ttl",
    ),
    ("topics = [\"cloud/#\"]", "[[uplink.route]]\nttl = \"x\"", 14, "uplink.route.ttl", "not a duration"),
    ("topics = [\"cloud/#\"]", "topics = [\"cloud/#\"]\ndown = \"a\"", 14, "uplink.down", "an array of strings"),
    ("topics = [\"cloud/#\"]", "topics = [\"cloud/#\"]\ndown = [\"a/#/b\"]", 14, "uplink.down", "misplaced wildcard"),
    (
        "topics = [\"cloud/#\"]",
        "topics = [\"cloud/#\"]\ndown = [\"+/x\"]",
        14,
        "uplink.down",
        "in common with \"cloud/#\"",
    ),
    ("topics = [\"cloud/#\"]", "topics = [\"cloud/#\"]\ndown = [\"eyot/+\"]", 14, "uplink.down", "the gateways' own"),
    ("topics = [\"cloud/#\"]", "topics = [\"cloud/#\"]\ndown = [\"$SYS/#\"]", 14, "uplink.down", "begins with $"),
    (
        "topics = [\"cloud/#\"]",
        "[[uplink.route]]\nrate = \"1/s\"",
        14,
        "uplink.route.rate",
        "is a key of [[uplink]], for all its routes",
    ),
    ("topics = [\"cloud/#\"]", "max_backlog = \"99999999PiB\"", 13, "uplink.max_backlog", "more than can be counted"),
    ("topics = [\"cloud/#\"]", "max_backlog = \"17TiB\"", 13, "uplink.max_backlog", "at most 16 TiB"),
    ("512MiB", "99999999PiB", 16, "spool.max_bytes", "more than can be counted"),
    ("512MiB", "15EiB", 16, "spool.max_bytes", "at most 16 TiB"),
    ("512MiB", "512", 16, "spool.max_bytes", "write a number and a unit"),
    ("512MiB", "100KiB", 16, "spool.max_bytes", "at least 512 KiB"),
    ("drop-oldest\"", "drop\"", 17, "spool.when_full", "\"drop-newest\""),
    ("10ms", "10", 18, "spool.commit_window", "10ms"),
    ("10ms", "1h", 18, "spool.commit_window", "too long"),
    ("10ms\"", "10ms\"\ncommit_window_max = \"9ms\"", 19, "spool.commit_window_max", "at least 10ms"),
    ("10ms\"", "10ms\"\ncommit_window_max = \"11s\"", 19, "spool.commit_window_max", "at most 10s"),
    ("10ms\"", "10ms\"\nwear_budget = \"2GiB\"", 19, "spool.wear_budget", "does not say \"/day\""),
    ("10ms\"", "10ms\"\nwear_budget = \"2GiB/h\"", 19, "spool.wear_budget", "2GiB/day"),
    ("10ms\"", "10ms\"\nwear_budget = \"2/day\"", 19, "spool.wear_budget", "a number and a unit"),
    ("10ms\"", "10ms\"\nwear_budget = \"1MiB/day\"", 19, "spool.wear_budget", "at least 16 MiB"),
    ("10ms\"", "10ms\"\nwear_budget = 2", 19, "spool.wear_budget", "write a string"),
    ("[trust]", "[spool.reduce]\nat = \"80%\"\n[trust]", 20, "spool.reduce.function", "is missing"),
    ("[trust]", "[spool.reduce]\nat = \"80\"\nfunction = \"thin\"\n[trust]", 21, "spool.reduce.at", "10% to 95%"),
    ("[trust]", "[spool.reduce]\nat = \"100%\"\nfunction = \"thin\"\n[trust]", 21, "spool.reduce.at", "10% to 95%"),
    ("[trust]", "[spool.reduce]\nfunction = \"Thin\"\n[trust]", 21, "spool.reduce.function", "not a function's name"),
    ("[trust]", "[run]\nfuel_budget = \"0/s\"\n[trust]", 21, "run.fuel_budget", "200_000_000/s"),
    ("[trust]", "[run]\nfuel_budget = \"5M\"\n[trust]", 21, "run.fuel_budget", "200_000_000/s"),
    ("[trust]", "[spool.reduce]\nfuncton = \"thin\"\n[trust]", 21, "spool.reduce.functon", "did you mean"),
    ("id = \"barn-7\"", "status_interval = \"10ms\"", 3, "gateway.status_interval", "too short"),
    ("ssh-ed25519", "ssh-rsa", 21, "trust.keys", "ssh-keygen"),
    ("AAAAC3", "AAAAC4", 21, "trust.keys", "ssh-keygen"),
    ("allow_unsigned = false", "allow_unsigned = 0", 22, "trust.allow_unsigned", "true or false"),
    ("path = \"celsius.wasm\"", "file = \"celsius.wasm\"", 24, "function.path", "is missing"),
    ("path = \"celsius.wasm\"", "path = \"a\"\nextra = 1", 26, "function.extra", "use one of: path"),
    ("[trust]", "[metrics]\n[trust]", 20, "metrics.listen", "is missing; write listen"),
    ("10ms\"", "10ms\"\nwear_budget = \"99999999PiB/day\"", 19, "spool.wear_budget", "more than can be counted"),
    ("10ms", "99999999999999years", 18, "spool.commit_window", "not a duration"),
    ("[trust]", "[metrics]\nlisten = \"9464\"\n[trust]", 21, "metrics.listen", "127.0.0.1:9464"),
    ("[trust]", "[metrics]\nlisten = \"[::]:0\"\n[trust]", 21, "metrics.listen", "is any port"),
    ("[trust]", "[run]\nworkers = 0\n[trust]", 21, "run.workers", "from 1 to 64"),
    ("when_full =", "when_full", 17, "", "is not TOML"),
];

#[test]
fn every_mistake_is_placed_and_explained() {
    for (from, to, line, key, words) in BROKEN {
        let text = CONTRACT.replacen(from, to, 1);
        assert_ne!(text, CONTRACT, "{from}");
        let error = parse(&text).map(|_| ()).expect_err(to);
        let found = error.problems.iter().any(|p| p.line == *line && p.key == *key && p.reason.contains(words));
        assert!(found, "{from} -> {to} should say {line}: {key}: …{words}…, but:\n{error}");
        assert!(error.to_string().starts_with("/etc/eyot/gateway.toml:"), "{error}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = CONTRACT.replace("barn-7", "a b").replace("= 5", "= 6").replace("10ms", "x").replace("path", "paht");
    let error = parse(&text).map(|_| ()).unwrap_err();
    let places: Vec<_> = error.problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let expected = [
        (3, "gateway.id"),
        (8, "broker.protocol"),
        (18, "spool.commit_window"),
        (24, "function.path"),
        (25, "function.paht"),
    ];
    assert_eq!(places, expected);
    assert_eq!(error.to_string().lines().count(), 5);
}

#[test]
fn a_wear_budget_is_bytes_a_day_and_lets_the_window_grow_to_a_second() {
    let spool = |lines: &str| parse(&CONTRACT.replace("commit_window = \"10ms\"", lines)).unwrap().spool;
    assert_eq!(spool("").wear_budget_day_bytes, None);
    let budget = spool("wear_budget = \"2GiB/day\"");
    assert_eq!((budget.wear_budget_day_bytes, budget.commit_window_max), (Some(2 << 30), Duration::from_secs(1)));
    assert_eq!(spool("wear_budget = \"500 MB/day\"").wear_budget_day_bytes, Some(500_000_000));
    assert_eq!(spool("commit_window = \"3s\"").commit_window_max, Duration::from_secs(3));
    assert_eq!(spool("commit_window_max = \"5s\"").commit_window_max, Duration::from_secs(5));
}

#[test]
fn two_uplinks_cannot_share_a_name() {
    let text = format!("{CONTRACT}\n[[uplink]]\nname = \"cloud\"\nurl = \"mqtt://b\"\ntopics = [\"b/#\"]\n");
    let error = parse(&text).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("28: uplink.name: \"cloud\" is the name of another uplink"), "{error}");
}

#[test]
fn routes_have_priorities_and_an_age_limit() {
    let more = r##"
[[uplink]]
name = "far"
url = "mqtt://b"
rate = "100/s"
ttl = "7days"
max_backlog = "64MiB"
when_full = "block"
order = "live-first"
[[uplink.route]]
name = "alarms"
topics = ["alarms/#"]
priority = "high"
ttl = "1h"
[[uplink.route]]
name = "rest"
topics = ["#"]
"##;
    let config = parse(&format!("{CONTRACT}{more}")).unwrap();
    let far = &config.uplinks[1].delivery;
    assert_eq!((far.name.as_str(), far.topics.len(), far.rate_max_per_s), ("far", 0, Some(100)));
    assert_eq!(far.ttl_ms, Some(7 * 86_400_000));
    assert_eq!((far.order, config.uplinks[0].delivery.order), (Order::LiveFirst, Order::OldestFirst));
    assert_eq!((far.backlog_max_bytes, far.when_full), (Some(64 << 20), Some(WhenFull::Block)));
    let routes: Vec<_> = far.routes.iter().map(|r| (r.name.as_str(), r.priority, r.ttl_ms)).collect();
    let expected = [("alarms", Priority::High, Some(3_600_000)), ("rest", Priority::Normal, Some(7 * 86_400_000))];
    assert_eq!(routes, expected);
    assert_eq!(config.uplinks[0].delivery.ttl_ms, None);

    let error = parse(&format!("{CONTRACT}{}", more.replace("rest", "alarms"))).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("41: uplink.route.name: \"alarms\" is the name of another route"), "{error}");
}

#[test]
fn streams_have_a_limit() {
    let with = |routes: usize| {
        let route = |n| format!("[[uplink.route]]\nname = \"r{n}\"\ntopics = [\"r{n}/#\"]\n");
        let more: String = (0..routes).map(route).collect();
        parse(&format!("{CONTRACT}\n[[uplink]]\nname = \"far\"\nurl = \"mqtt://b\"\n{more}"))
    };
    assert_eq!(with(30).unwrap().uplinks[1].delivery.routes.len(), 30, "with local and cloud that is 32");
    let error = with(31).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(":27: uplink: makes 33 streams"), "{error}");
}

#[test]
fn secrets_come_from_files() {
    let dir = std::env::temp_dir().join(format!("eyot-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("secret"), "pa ss\n").unwrap();
    let text = "[broker]\nurl='mqtt://b'\nusername='ada'\npassword_file='secret'\n[gateway]\nid='x'";
    let config = Config::parse(&dir.join("gateway.toml"), text).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(config.broker.login, Some(("ada".to_owned(), "pa ss".to_owned())));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/gateway.toml")).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/gateway.toml:1: cannot be read"), "{error}");
}

#[test]
fn what_is_no_regular_file_is_refused_before_it_is_read() {
    let error = Config::load(Path::new("/dev/null")).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
    for (key, text) in [
        ("broker.password_file", "[broker]\nurl='mqtt://b'\nusername='ada'\npassword_file='/dev/null'"),
        ("broker.tls.ca", "[broker]\nurl='mqtts://b'\ntls.ca='/dev/null'"),
    ] {
        let problems = parse(text).map(|_| ()).unwrap_err().problems;
        let problem = problems.iter().find(|p| p.key == key).unwrap();
        assert!(problem.reason.contains("not a regular file"), "{problem:?}");
    }
}

#[test]
fn files_over_their_limit_are_refused() {
    let file = std::env::temp_dir().join(format!("eyot-large-{}.toml", std::process::id()));
    std::fs::write(&file, vec![b'#'; FILE_MAX_BYTES + 1]).unwrap();
    let error = Config::load(&file).map(|_| ()).unwrap_err();
    std::fs::remove_file(&file).unwrap();
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

#[test]
fn of_very_many_problems_the_first_are_told() {
    let keys: String = (0..5_000).map(|n| format!("k{n} = 0\n")).collect();
    let error = parse(&keys).map(|_| ()).unwrap_err();
    let problems = &error.problems;
    assert_eq!(problems.len(), PROBLEMS_MAX);
    assert!(problems.iter().any(|p| p.key == "k0"));
    assert!(error.to_string().lines().last().unwrap().contains("4901 more problems"), "{error}");
}

#[test]
fn a_problem_is_told_on_one_line_of_bounded_length() {
    for (from, to) in [
        ("mqtt://127.0.0.1:1883", "mqtt://a\\nb".to_owned()),
        ("barn-7", "\\u001b[31m".to_owned()),
        ("protocol = 5", "\"a\\nb\" = 5".to_owned()),
        ("mqtt://127.0.0.1:1883", "x".repeat(70_000)),
        ("protocol = 5", format!("username = \"{}\"", "ada".repeat(30_000))),
    ] {
        let error = parse(&CONTRACT.replacen(from, &to, 1)).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert_eq!((error.problems.len(), text.lines().count()), (1, 1), "{text}");
        assert!(text.chars().count() <= PROBLEM_MAX_CHARS + 1 && !text.contains(char::is_control), "{text}");
    }
}

#[test]
fn a_file_with_problems_still_says_which_functions_it_names() {
    let error = parse(&CONTRACT.replace("barn-7", "a b")).map(|_| ()).unwrap_err();
    assert_eq!(
        error.functions.iter().map(|f| (f.path.as_path(), f.line)).collect::<Vec<_>>(),
        [(Path::new("/etc/eyot/celsius.wasm"), 25)]
    );
}

#[test]
fn a_route_that_gets_nothing_because_of_one_before_it_is_pointed_out() {
    let with = |lines: &str| {
        let mut warnings = parse(&CONTRACT.replace("topics = [\"cloud/#\"]", lines)).unwrap().warnings;
        // Whether data_dir can be written depends on who runs the tests.
        warnings.retain(|warning| warning.key != "gateway.data_dir");
        warnings
    };
    let route = |name: &str, topics: &str| format!("[[uplink.route]]\nname = \"{name}\"\ntopics = {topics}\n");
    assert_eq!(with(&route("a", "[\"cloud/alarm/#\", \"cloud/+\"]")), []);
    let warnings = with(&format!(
        "topics = [\"cloud/x\"]\n{}{}",
        route("a", "[\"cloud/#\"]"),
        route("b", "[\"c\", \"cloud/alarm\"]")
    ));
    let told: Vec<_> = warnings.iter().map(|w| (w.line, w.key.as_str())).collect();
    assert_eq!(told, [(13, "uplink.topics"), (19, "uplink.route.topics")], "{warnings:?}");
    assert!(warnings[1].reason.contains("\"cloud/alarm\" gets nothing") && warnings[1].reason.contains("\"cloud/#\""));
}

#[test]
fn what_comes_down_an_uplink_is_not_what_goes_up_by_any_of_its_routes() {
    let with = |lines: &str| parse(&CONTRACT.replace("topics = [\"cloud/#\"]", lines));
    let config = with("topics = [\"cloud/#\"]\ndown = [\"actuators/#\", \"set/+\"]").unwrap();
    assert_eq!(config.uplinks[0].delivery.down, ["actuators/#", "set/+"]);
    let route = "down = [\"alarm/#\"]\n[[uplink.route]]\nname = \"alarms\"\ntopics = [\"+/fire\"]";
    let error = with(route).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("13: uplink.down: topic filter \"alarm/#\" has topics in common with \"+/fire\""),
        "{error}"
    );
    let many: Vec<_> = (0..65).map(|n| format!("a{n}")).collect();
    let error = with(&format!("topics = [\"cloud/#\"]\ndown = {many:?}")).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("\"a64\" is one too many; at most 64") && !error.contains("\"a63\""), "{error}");
}

//! `[[uplink]]` of every kind: what is read, and how everything wrong is placed and explained.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use eyot_gateway::config::Config;

/// Keys of an uplink with this URL, one a line; what is wrong with them: line, key, words.
type Uplink = (&'static str, &'static str, usize, &'static str, &'static str);

const UPLINKS: &[Uplink] = &[
    ("https://x/in", "compress = 'zip'", 7, "uplink.compress", "\"gzip\" or \"zstd\""),
    ("https://x/in", "format = 'csv'", 7, "uplink.format", "\"ndjson\" or \"json\""),
    ("https://x/in", "batch_max = 40000", 7, "uplink.batch_max", "from 1 to 16384"),
    ("https://x/in", "batch_bytes = '1GiB'", 7, "uplink.batch_bytes", "at most 64 MiB"),
    ("https://x/in", "batch_bytes = '1'", 7, "uplink.batch_bytes", "a unit"),
    ("https://x/in", "linger = '2h'", 7, "uplink.linger", "at most 1h"),
    ("https://x/in", "timeout = '0s'", 7, "uplink.timeout", "at least 1s"),
    ("https://x/in", "token = 'x'", 7, "uplink.token", "never inline; put it in a file and write token_file"),
    ("https://x/in", "token_env = 'EYOT_NOT_SET'", 7, "uplink.token_env", "no variable"),
    ("https://x/in", "inflight = 5", 7, "uplink.inflight", "is not a key here"),
    ("http://x/in", "[uplink.tls]\nca = 'x'", 7, "uplink.tls", "use https://"),
    ("https://x/in", "[uplink.tls]\nca = '/nowhere.pem'", 8, "uplink.tls.ca", "/nowhere.pem"),
    ("https://x/a b", "", 4, "uplink.url", "percent-encode"),
    ("s3://b/p", "access_key = 'k'", 3, "uplink.access_key", "secret_key_file or secret_key_env"),
    ("s3://b/p", "secret_key = 'k'", 7, "uplink.secret_key", "never inline"),
    ("s3://b/p", "secret_key_file = 'nowhere'", 7, "uplink.secret_key_file", "cannot read /etc/eyot/nowhere"),
    ("s3://b/p", "endpoint = 'minio:9000'", 7, "uplink.endpoint", "is no server"),
    ("s3://b/p", "endpoint = 'http://minio:9000/x'", 7, "uplink.endpoint", "is no server"),
    ("s3://b:80/p", "", 4, "uplink.url", "has no port"),
    ("s3://b/p", "region = ''", 7, "uplink.region", "is no region"),
    ("https://x/in", "down = ['a']", 7, "uplink.down", "nothing comes down over https://"),
    ("mqtt://b:1883", "down = ['a']", 7, "uplink.down", "from the local broker itself"),
    ("https://x/in", "tokn = 'x'", 7, "uplink.tokn", "use one of: "),
    ("s3://b/p", "access_key = 'a b'", 7, "uplink.access_key", "is no access key"),
    ("file://host/p", "", 4, "uplink.url", "absolute path"),
    ("file:///p", "rotate_bytes = '1KiB'", 7, "uplink.rotate_bytes", "at least 64 KiB"),
    ("file:///p", "rotate_every = '367days'", 7, "uplink.rotate_every", "at most 366days"),
    ("https://x/in", "ttl = '4000days'", 7, "uplink.ttl", "at most 3650days"),
    ("file:///p", "rotate_every = '0s'", 7, "uplink.rotate_every", "at least 1s"),
    ("file:///p", "keep = 0", 7, "uplink.keep", "from 1 to 65535"),
    ("file:///p", "batch_bytes = '65KiB'\nrotate_bytes = '64KiB'", 7, "uplink.batch_bytes", "more than rotate_bytes"),
    ("file:///dev/null", "", 4, "uplink.url", "is no directory"),
    ("file:///p", "compress = 'gzip'", 7, "uplink.compress", "is not a key here"),
];

/// The URL is in line 4, the keys begin in line 7.
fn with_uplink(url: &str, keys: &str) -> String {
    let head = "gateway.id = 'g'\nbroker.url = 'mqtt://b'\n[[uplink]]";
    format!("{head}\nurl = '{url}'\nname = 'c'\ntopics = ['#']\n{keys}\n")
}

#[test]
fn every_mistake_in_an_uplink_is_placed_and_explained() {
    for (url, keys, line, key, words) in UPLINKS {
        let error =
            Config::parse(Path::new("/etc/eyot/gateway.toml"), &with_uplink(url, keys)).map(|_| ()).expect_err(keys);
        let found = error.problems.iter().any(|p| p.line == *line && p.key == *key && p.reason.contains(words));
        assert!(found, "{url} {keys} should say {line}: {key}: …{words}…, but:\n{error}");
    }
}

#[test]
fn uplinks_of_every_kind_are_read() {
    let dir = std::env::temp_dir().join(format!("eyot-uplinks-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("secret"), "pa ss\n").unwrap();
    let places = [
        ("http://x:8080/in?a=b", "token_file = 'secret'\nbatch_max = 7\ncompress = 'gzip'\nformat = 'json'"),
        ("s3://b/a/p/", "access_key = 'k'\nsecret_key_file = 'secret'\nendpoint = 'http://minio:9000/'\nlinger = '5m'"),
        ("s3://b", "access_key = 'k'\nsecret_key_file = 'secret'\nregion = 'eu-north-1'"),
        ("file:///var/lib/my readings", "rotate_every = '1h'\nkeep = 3"),
    ];
    let read = places.map(|(url, keys)| {
        let config = Config::parse(&dir.join("gateway.toml"), &with_uplink(url, keys)).unwrap();
        format!("{:?}", config.uplinks[0].at)
    });
    std::fs::remove_dir_all(&dir).unwrap();
    for (text, words) in read.iter().zip([
        &["port: 8080", "/in?a=b", "Json", "Gzip", "batch_max: 7", "/secret)", "by_day: false"][..],
        &["minio", "9000", "tls: None", "\"b\"", "\"a/p\"", "Zstd", "linger: 300s", "by_day: true"],
        &["s3.eu-north-1.amazonaws.com", "port: 443", "tls: Some"],
        &["/var/lib/my readings", "rotate_every: 3600s", "keep: Some(3)", "rotate_bytes: 67108864"],
    ]) {
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("pa ss"), "secrets are not shown: {text}");
    }
}

#[test]
fn keys_that_are_refused_are_not_offered() {
    for (url, refused) in [("https://x/in", " token,"), ("mqtt://x", " password,"), ("s3://b/p", " secret_key,")] {
        let text = with_uplink(url, "nonsense_key = 1");
        let error = Config::parse(Path::new("/etc/eyot/gateway.toml"), &text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("use one of: ") && !error.contains(refused), "{error}");
    }
}

#[test]
fn the_directory_of_a_file_uplink_is_looked_at() {
    let dir = std::env::temp_dir().join(format!("eyot-directory-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("data")).unwrap();
    std::os::unix::fs::symlink("data", dir.join("link")).unwrap();
    let parse = |below: &str| {
        let text = with_uplink(&format!("file://{}/{below}", dir.display()), "rotate_bytes = '64KiB'")
            .replace("broker.url", "gateway.data_dir = 'data'\nbroker.url");
        Config::parse(&dir.join("gateway.toml"), &text)
    };
    let inside: Vec<_> = ["data", "data/readings", "link/x"].map(|below| parse(below).map(|_| ())).into();
    let missing = parse("readings").unwrap();
    std::fs::create_dir(dir.join("readings")).unwrap();
    let there = parse("readings").unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    for result in inside {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(":5: uplink.url: ") && error.contains("is in data_dir"), "{error}");
    }
    assert_eq!((missing.warnings.len(), missing.warnings[0].line), (1, 5));
    assert!(missing.warnings[0].reason.contains("does not exist"), "{:?}", missing.warnings);
    assert_eq!(there.warnings, []);
    let batches = format!("{:?}", there.uplinks[0].at);
    assert!(batches.contains("batch_max_bytes: 65536"), "a batch is no larger than a file: {batches}");
}

/// Two limits that contradict each other: the one that is beyond the other does nothing.
#[test]
fn a_backlog_as_large_as_the_log_is_hardly_meant() {
    let warnings = |max_backlog: &str| {
        let text = with_uplink("https://x/in", &format!("max_backlog = '{max_backlog}'\n[spool]\nmax_bytes = '1MiB'"));
        Config::parse(Path::new("/etc/eyot/gateway.toml"), &text).unwrap().warnings
    };
    assert_eq!(warnings("1023KiB"), []);
    let found = warnings("1MiB");
    assert_eq!((found.len(), found[0].line, &*found[0].key), (1, 7, "uplink.max_backlog"));
    assert!(found[0].reason.contains("the log is full before; lower it"), "{found:?}");
}

//! How a function that takes long and keeps no state gains from more workers: `eyotd` with one worker, two, and so on up
//! to the number of cores, each message about 1.6 million instructions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a measurement that cannot be made ends here

use std::time::Instant;

use eyot_test_e2e::client::Client;
use eyot_test_e2e::guest::{slow_echo, Manifest};
use eyot_test_e2e::site::Site;

/// Messages before the clock starts, in which the instances come to be.
const WARM_UP: usize = 50;
const MESSAGES: usize = 1000;
const TOPICS: usize = 16;
const TURNS: u32 = 200_000;
const ROUNDS: usize = 3;

/// Sends so many messages, and waits for as many results.
fn run(sensor: &mut Client, results: &mut Client, messages: usize) {
    for n in 0..messages {
        sensor.send(&format!("in/{}", n % TOPICS), n.to_string().into(), 1, false).unwrap();
    }
    for _ in 0..messages {
        results.await_message("a result", |_| Some(()));
    }
}

/// Messages a second with so many workers.
fn rate(workers: usize) -> f64 {
    let mut slow = Manifest::new("slow");
    slow.limits = "fuel = 10_000_000".into();
    let mut site = Site::new("cores").function(|dir| slow.module(dir, &slow_echo("out/", TURNS)));
    site.config.more = format!("[run]\nworkers = {workers}\n");
    let _daemon = site.start();
    let (mut sensor, mut results) = (site.client("sensors"), site.client("results"));
    results.subscribe("out/#");
    run(&mut sensor, &mut results, WARM_UP);
    let start = Instant::now();
    run(&mut sensor, &mut results, MESSAGES);
    MESSAGES as f64 / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    println!("{cores} cores, {MESSAGES} messages on {TOPICS} topics, medians of {ROUNDS} alternating rounds");
    let mut rates = vec![Vec::new(); cores];
    for _ in 0..ROUNDS {
        for (index, rates) in rates.iter_mut().enumerate() {
            rates.push(rate(index + 1));
        }
    }
    let rates: Vec<f64> = rates.into_iter().map(median).collect();
    for (index, rate) in rates.iter().enumerate() {
        println!("{} workers: {rate:.0} messages/s, {:.2} times one worker", index + 1, rate / rates[0]);
    }
}

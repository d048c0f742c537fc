//! Workers: threads for functions that take longer than a moment, and whose turn it is.
//!
//! A job runs for a quantum at a time. The next is one of the function that has had the least time of those that wait, so
//! whatever one function is asked to do, another gets its share. Threads start when there is work for them.
//!
//! Shadows, for which nobody waits, have a thread of their own that runs when nothing else wants the processor. Their time is
//! that of the processor, not of the wall: it would not be theirs that they wait so long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use eyot_core::io::Job;
use flume::{Receiver, Sender};
use rustix::time::{clock_gettime, ClockId};

use crate::functions;

/// How long a job runs before another may.
pub const QUANTUM: Duration = Duration::from_millis(1);
/// Niceness of the threads: links, log and broker go first, and so does what is quick.
const NICE: i32 = 5;
/// Niceness of the thread of shadows: all others go first.
const SHADOW_NICE: i32 = 19;

/// Most time by which a function is taken to be ahead of the one that is most behind. Alone, or on more cores than others
/// have work for, it gets ahead without anyone's loss, and is not to pay for that later.
const LEAD_MAX: Duration = Duration::from_millis(100);

/// The jobs of one function.
#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<Job>>,
    running: usize,
    /// Time it has had, or is taken to have had.
    had_ns: u64,
}

impl Line {
    fn is_busy(&self) -> bool {
        self.running > 0 || !self.jobs.is_empty()
    }
}

/// All jobs that are not done.
#[derive(Default)]
struct Queue {
    /// By the function's number. Those that are not busy are kept while they are ahead.
    lines: BTreeMap<usize, Line>,
    /// What a function is taken to have had at least that was not busy.
    floor_ns: u64,
    /// Threads that wait for a job.
    idle: usize,
    ending: bool,
}

impl Queue {
    fn put(&mut self, job: Box<Job>) {
        self.raise_floor();
        let floor_ns = self.floor_ns;
        self.lines.retain(|_, line| line.is_busy() || line.had_ns > floor_ns);
        let line = self.lines.entry(job.place()).or_default();
        line.had_ns = line.had_ns.max(floor_ns);
        line.jobs.push_back(job);
    }

    /// To where the busy function is that is most behind. After a pause all are even.
    fn raise_floor(&mut self) {
        let busy = self.lines.values().filter(|line| line.is_busy()).map(|line| line.had_ns).min();
        let floor_ns = busy.or_else(|| self.lines.values().map(|line| line.had_ns).max());
        self.floor_ns = self.floor_ns.max(floor_ns.unwrap_or(0));
    }

    /// The job whose turn it is.
    fn take(&mut self) -> Option<Box<Job>> {
        let waiting = self.lines.values_mut().filter(|line| !line.jobs.is_empty());
        let line = waiting.min_by_key(|line| line.had_ns)?;
        line.running += 1;
        line.jobs.pop_front()
    }

    /// A job of this function has run for so long, and goes on if it is here.
    fn ran(&mut self, place: usize, ns: u64, job: Option<Box<Job>>) {
        self.raise_floor();
        let most_ns = self.floor_ns.saturating_add(nanos(LEAD_MAX));
        let Some(line) = self.lines.get_mut(&place) else { return };
        line.running -= 1;
        line.had_ns = line.had_ns.saturating_add(ns).min(most_ns);
        line.jobs.extend(job);
    }

    /// Whether there is a job already for each thread that waits for one.
    fn all_have_work(&self) -> bool {
        self.lines.values().map(|line| line.jobs.len()).sum::<usize>() >= self.idle
    }
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    woken: Condvar,
}

impl Shared {
    /// A thread that panicked left the queue as it was: every change of it is whole.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads that share a queue.
struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
    name: &'static str,
    nice: i32,
    clock: fn() -> Duration,
}

impl Pool {
    fn new(name: &'static str, most: usize, nice: i32, clock: fn() -> Duration) -> Self {
        Self { shared: Arc::default(), threads: Vec::new(), most, name, nice, clock }
    }

    fn run(&mut self, job: Box<Job>, done: &Sender<Box<Job>>, waker: &Thread) -> Result<(), Box<Job>> {
        // Threads that were told of a job count as idle until they have it.
        let all_have_work = self.shared.lock().all_have_work();
        if all_have_work && self.threads.len() < self.most {
            let (shared, done, waker, clock) = (Arc::clone(&self.shared), done.clone(), waker.clone(), self.clock);
            let work = move || work(&shared, &done, &waker, clock);
            if let Ok(thread) = functions::spawn_nice(self.name, self.nice, work) {
                self.threads.push(thread);
            }
        }
        if self.threads.is_empty() {
            return Err(job);
        }
        self.shared.lock().put(job);
        self.shared.woken.notify_one();
        Ok(())
    }

    fn end(self) {
        self.shared.lock().ending = true;
        self.shared.woken.notify_all();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// The threads.
pub struct Workers {
    pool: Pool,
    shadows: Pool,
    done: Sender<Box<Job>>,
    waker: Thread,
}

impl Workers {
    /// At most so many threads, besides that of shadows. What is done comes out at the other end, of which `waker` is told.
    pub fn new(most: usize, waker: Thread) -> (Self, Receiver<Box<Job>>) {
        let (done, done_rx) = flume::bounded(eyot_core::JOBS_MAX);
        let pool = Pool::new("worker", most, NICE, wall_clock);
        let shadows = Pool::new("shadow", 1, SHADOW_NICE, processor_clock);
        (Self { pool, shadows, done, waker }, done_rx)
    }

    /// Runs a job; hands it back if there is no thread for it and none can be started.
    pub fn run(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        let pool = if job.is_shadow() { &mut self.shadows } else { &mut self.pool };
        pool.run(job, &self.done, &self.waker)
    }

    /// Gives up what is not done, and ends the threads.
    pub fn end(self) {
        self.pool.end();
        self.shadows.end();
    }
}

/// Time, since whenever.
fn wall_clock() -> Duration {
    duration(ClockId::Monotonic)
}

/// Time that this thread has run.
fn processor_clock() -> Duration {
    duration(ClockId::ThreadCPUTime)
}

fn duration(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

fn work(shared: &Shared, done: &Sender<Box<Job>>, waker: &Thread, clock: fn() -> Duration) {
    let mut queue = shared.lock();
    loop {
        if queue.ending {
            return;
        }
        let Some(mut job) = queue.take() else {
            queue.idle += 1;
            queue = shared.woken.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
            continue;
        };
        drop(queue);
        let place = job.place();
        let (is_done, ns) = quantum(&mut job, clock);
        if is_done {
            if done.send(job).is_err() {
                return;
            }
            waker.unpark();
            queue = shared.lock();
            queue.ran(place, ns, None);
        } else {
            queue = shared.lock();
            queue.ran(place, ns, Some(job));
        }
    }
}

/// Runs a job until it is done or its quantum is over; says which, and for how many nanoseconds.
fn quantum(job: &mut Job, clock: fn() -> Duration) -> (bool, u64) {
    let start = clock();
    let mut so_far = Duration::ZERO;
    loop {
        let is_over = job.step();
        let now = clock().saturating_sub(start);
        let slice_ns = nanos(now.saturating_sub(so_far));
        so_far = now;
        if job.took(slice_ns) || is_over || now >= QUANTUM {
            return (job.is_done(), nanos(now));
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;
    use eyot_core::config::Config;
    use eyot_core::io::{Effect, Input, Message, Now};
    use eyot_core::{Core, Loaded};
    use eyot_engine::{Function, LoadOptions};
    use eyot_spool::memory::MemoryStorage;
    use eyot_spool::Options;
    use eyot_wire::manifest::Manifest;

    use super::*;

    /// Runs until its fuel is gone; or, if its topic ends in `2`, for a while.
    const SPIN: &str = r#"(module
      (memory (export "memory") 1)
      (func (export "eyot_abi") (result i32) (i32.const 1))
      (func (export "eyot_alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "eyot_handle") (param $t i32) (param $tl i32) (param i32 i32) (result i32)
        (local $turns i32)
        (local.set $turns (i32.const 20000))
        (loop $turn
          (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
          (br_if $turn (i32.gt_s (local.get $turns) (i32.const 0))))
        (if (i32.ne (i32.const 50) (i32.load8_u (i32.sub (i32.add (local.get $t) (local.get $tl)) (i32.const 1))))
          (then (loop $for_ever (br $for_ever))))
        (i32.const 0)))"#;

    fn spinning(name: &str, limits: &str) -> Loaded {
        let text =
            format!("name = \"{name}\"\nversion = \"1.0.0\"\n[[trigger]]\nmqtt = \"{name}/+\"\n[limits]\n{limits}");
        let options = LoadOptions { manifest: Some(Manifest::parse(&text).unwrap()), ..LoadOptions::default() };
        let module = wat::parse_str(SPIN).unwrap();
        let load = move || Function::load(&module, options.clone()).ok();
        Loaded {
            function: Box::new(load().unwrap()),
            sha256: [0; 32],
            content_sha256: [0; 32],
            replica: Some(Arc::new(load)),
        }
    }

    struct Gateway(Core<MemoryStorage>);

    impl Gateway {
        fn new(loaded: Vec<Loaded>) -> Self {
            let config = Config { workers: 4, ..Config::default() };
            let storage = MemoryStorage::new(1);
            Self(Core::open(config, Options::for_quota(64 << 20), storage, loaded, Now::default(), 1).unwrap())
        }

        /// The jobs that messages on these topics come to.
        fn jobs(&mut self, topics: &[&'static str]) -> impl Iterator<Item = Box<Job>> {
            for topic in topics {
                let (topic, payload) = (Bytes::from_static(topic.as_bytes()), Bytes::new());
                let message = Message { conn: 1, packet_id: 0, qos: 0, dup: false, wakes: None, topic, payload };
                self.0.handle(Now::default(), Input::Message(message));
            }
            let effects: Vec<_> = std::iter::from_fn(|| self.0.poll()).collect();
            effects.into_iter().filter_map(|effect| if let Effect::Run(job) = effect { Some(job) } else { None })
        }
    }

    /// Takes jobs in turn as a thread would, each for this many nanoseconds; how often each function had its turn.
    fn turns(queue: &mut Queue, count: usize, ns: impl Fn(usize) -> u64) -> Vec<usize> {
        let mut turns = vec![0; 3];
        for _ in 0..count {
            let job = queue.take().unwrap();
            let place = job.place();
            turns[place] += 1;
            queue.ran(place, ns(place), Some(job));
        }
        turns
    }

    #[test]
    fn a_function_with_many_jobs_has_the_share_of_one() {
        let mut gateway = Gateway::new(vec![spinning("a", ""), spinning("b", ""), spinning("c", "")]);
        let mut queue = Queue::default();
        gateway.jobs(&["a/1", "a/2", "a/3", "b/1"]).for_each(|job| queue.put(job));
        assert_eq!(turns(&mut queue, 100, |_| 1_000_000), [50, 50, 0]);
        assert_eq!(turns(&mut queue, 90, |place| if place == 0 { 2_000_000 } else { 1_000_000 }), [30, 60, 0]);
        // Who comes late gets no more than the others from then on, and no less.
        gateway.jobs(&["c/1"]).for_each(|job| queue.put(job));
        let late = turns(&mut queue, 90, |_| 1_000_000);
        assert!(late.iter().all(|turns| (29..=31).contains(turns)), "{late:?}");
    }

    #[test]
    fn to_leave_and_come_back_is_no_advantage() {
        let mut gateway = Gateway::new(vec![spinning("a", ""), spinning("b", "")]);
        let mut queue = Queue::default();
        gateway.jobs(&["a/2", "b/1"]).for_each(|job| queue.put(job));
        let mut turns = [0; 2];
        for _ in 0..100 {
            let job = queue.take().unwrap();
            let place = job.place();
            turns[place] += 1;
            // `a` is done with a message each time, and has the next at once.
            let (done, goes_on) = if place == 0 { (Some(job), None) } else { (None, Some(job)) };
            queue.ran(place, 1_000_000, goes_on);
            if let Some(job) = done {
                gateway.0.handle(Now::default(), Input::Ran(job));
                let next = gateway.jobs(&["a/2"]);
                next.for_each(|job| queue.put(job));
            }
        }
        assert!((49..=51).contains(&turns[0]), "{turns:?}");
    }

    /// What one function had while it was alone is not held against it.
    #[test]
    fn a_lead_is_forgotten_but_for_a_moment() {
        let mut gateway = Gateway::new(vec![spinning("a", ""), spinning("b", "")]);
        let mut queue = Queue::default();
        gateway.jobs(&["a/1", "b/1"]).for_each(|job| queue.put(job));
        // `b` is on a core of its own meanwhile.
        let b = (queue.take().unwrap(), queue.take().unwrap());
        queue.ran(0, 3_600_000_000_000, Some(b.0));
        queue.ran(1, 1_000_000, Some(b.1));
        let turns = turns(&mut queue, 300, |_| 1_000_000);
        assert!(turns[0] >= 95, "{turns:?}");
    }

    #[test]
    fn threads_start_on_need_and_deadlines_end_what_spins() {
        let limits = "fuel = 1_000_000_000\ndeadline = \"30ms\"";
        let mut gateway = Gateway::new(vec![spinning("a", limits), spinning("b", limits)]);
        let (mut workers, done) = Workers::new(2, std::thread::current());
        assert_eq!(workers.pool.threads.len(), 0);
        for job in gateway.jobs(&["a/1", "b/1", "a/3", "b/3"]) {
            assert!(workers.run(job).is_ok());
        }
        assert_eq!(workers.pool.threads.len(), 2);
        for _ in 0..4 {
            let job = done.recv_timeout(Duration::from_secs(60)).unwrap();
            gateway.0.handle(Now::default(), Input::Ran(job));
        }
        let status: serde_json::Value = serde_json::from_slice(&gateway.0.status_json()).unwrap();
        for function in status["functions"].as_array().unwrap() {
            assert_eq!((&function["last_failure"], &function["failures"]), (&"deadline".into(), &2.into()), "{status}");
            let worker_ms = function["worker_ms"].as_u64().unwrap();
            assert!((60..200).contains(&worker_ms), "twice 30 ms and a slice each: {status}");
        }
        workers.end();
    }

    /// What is not done when the gateway ends is given up within a quantum.
    #[test]
    fn threads_end_although_a_job_goes_on() {
        let mut gateway = Gateway::new(vec![spinning("a", "fuel = 1_000_000_000\ndeadline = \"10s\"")]);
        let (mut workers, _done) = Workers::new(1, std::thread::current());
        for job in gateway.jobs(&["a/1"]) {
            assert!(workers.run(job).is_ok());
        }
        let start = Instant::now();
        workers.end();
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

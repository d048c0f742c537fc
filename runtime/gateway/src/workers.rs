//! Workers: threads for functions that take longer than a moment, and whose turn it is.
//!
//! A job runs for a quantum at a time. The next is one of the function that has had the least time of those that wait, so
//! whatever one function is asked to do, another gets its share. Threads start when there is work for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use eyot_core::io::Job;
use flume::{Receiver, Sender};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::functions;

/// How long a job runs before another may.
pub const QUANTUM: Duration = Duration::from_millis(1);
/// Niceness of the threads: links, log and broker go first, and so does what is quick.
const NICE: i32 = 5;

/// The jobs of one function.
#[derive(Default)]
struct Line {
    jobs: VecDeque<Box<Job>>,
    running: usize,
    /// Time it has had, and what it is taken to have had before.
    had_ns: u64,
}

/// All jobs that are not done.
#[derive(Default)]
struct Queue {
    /// By the function's number.
    lines: BTreeMap<usize, Line>,
    /// What a function is taken to have had that was not here: no less than those that were.
    floor_ns: u64,
    /// Threads that wait for a job.
    idle: usize,
    ending: bool,
}

impl Queue {
    fn put(&mut self, job: Box<Job>) {
        let here = self.lines.values().map(|line| line.had_ns).min();
        self.floor_ns = here.unwrap_or(self.floor_ns).max(self.floor_ns);
        let new = Line { had_ns: self.floor_ns, ..Line::default() };
        self.lines.entry(job.place()).or_insert(new).jobs.push_back(job);
    }

    /// The job whose turn it is.
    fn take(&mut self) -> Option<Box<Job>> {
        let waiting = self.lines.values_mut().filter(|line| !line.jobs.is_empty());
        let line = waiting.min_by_key(|line| line.had_ns)?;
        line.running += 1;
        line.jobs.pop_front()
    }

    /// A job of this function has run for so long.
    fn ran(&mut self, place: usize, ns: u64, job: Option<Box<Job>>) {
        let Some(line) = self.lines.get_mut(&place) else { return };
        line.running -= 1;
        line.had_ns += ns;
        line.jobs.extend(job);
        if line.jobs.is_empty() && line.running == 0 {
            self.floor_ns = self.floor_ns.max(line.had_ns.min(self.least_ns(place)));
            self.lines.remove(&place);
        }
    }

    /// Whether there is a job already for each thread that waits for one.
    fn all_have_work(&self) -> bool {
        self.lines.values().map(|line| line.jobs.len()).sum::<usize>() >= self.idle
    }

    fn least_ns(&self, but: usize) -> u64 {
        let others = self.lines.iter().filter(|(place, _)| **place != but);
        others.map(|(_, line)| line.had_ns).min().unwrap_or(u64::MAX)
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

/// The threads.
pub struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
    done: Sender<Box<Job>>,
    waker: Thread,
}

impl Workers {
    /// At most so many threads. What is done comes out at the other end, of which `waker` is told.
    pub fn new(most: usize, waker: Thread) -> (Self, Receiver<Box<Job>>) {
        let (done, done_rx) = flume::bounded(eyot_core::JOBS_MAX);
        (Self { shared: Arc::default(), threads: Vec::new(), most, done, waker }, done_rx)
    }

    /// Runs a job; hands it back if there is no thread for it and none can be started.
    pub fn run(&mut self, job: Box<Job>) -> Result<(), Box<Job>> {
        // Threads that were told of a job count as idle until they have it.
        let all_have_work = self.shared.lock().all_have_work();
        if all_have_work && self.threads.len() < self.most {
            let (shared, done, waker) = (Arc::clone(&self.shared), self.done.clone(), self.waker.clone());
            if let Ok(thread) = functions::spawn("worker", move || work(&shared, &done, &waker)) {
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

    /// Gives up what is not done, and ends the threads.
    pub fn end(self) {
        self.shared.lock().ending = true;
        self.shared.woken.notify_all();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, done: &Sender<Box<Job>>, waker: &Thread) {
    // Best effort: without it, all threads are alike.
    let _ = setpriority_process(Some(gettid()), NICE);
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
        let (is_done, ns) = quantum(&mut job);
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
fn quantum(job: &mut Job) -> (bool, u64) {
    let start = Instant::now();
    let mut so_far = Duration::ZERO;
    loop {
        let is_over = job.step();
        let now = start.elapsed();
        let slice_ns = u64::try_from((now - so_far).as_nanos()).unwrap_or(u64::MAX);
        so_far = now;
        if job.took(slice_ns) || is_over || now >= QUANTUM {
            return (job.is_done(), u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

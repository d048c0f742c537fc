//! The thread that does what the core asks of the store, one task after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

use eyot_core::io::{Answer, Task};
use eyot_core::task::TASKS_MAX;
use flume::{Receiver, Sender};
use tracing::{error, info, warn};

use crate::functions;
use crate::store::Store;

/// Niceness of the thread: a module that is compiled must not hold up messages.
const NICE: i32 = 10;
/// What is answered and waits, at most: the core gives no more control messages, and one change at a time.
const ANSWERED_MAX: usize = TASKS_MAX + 2;
/// Tasks that wait before those that nobody waits for are left undone: modules and parts to be removed, lines of the audit
/// log.
const UNANSWERED_MAX: usize = 4 * TASKS_MAX;

/// The thread, once there was something to do.
pub struct Tasks {
    store: Arc<Store>,
    thread: Option<JoinHandle<()>>,
    todo: Sender<Box<Task>>,
    tasks: Receiver<Box<Task>>,
    done: Sender<Box<Answer>>,
    waker: Thread,
    is_dead: Arc<AtomicBool>,
    /// Tasks left undone since the store fell behind.
    dropped: u64,
    /// That there is no thread was said.
    told: bool,
}

impl Tasks {
    /// Answers come out at the other end, of which `waker` is told.
    pub fn new(store: Store, waker: Thread) -> (Self, Receiver<Box<Answer>>) {
        let (done, answers) = flume::bounded(ANSWERED_MAX + UNANSWERED_MAX);
        // Bounded by what is put in: see `give`.
        let (todo, tasks) = flume::unbounded();
        let (store, is_dead) = (Arc::new(store), Arc::default());
        (Self { store, thread: None, todo, tasks, done, waker, is_dead, dropped: 0, told: false }, answers)
    }

    /// Has a task done after those before it, never here. Without a thread it waits for the next try to start one: the core
    /// stops giving when too many wait.
    pub fn give(&mut self, task: Box<Task>) {
        let is_expendable = is_expendable(&task);
        if is_expendable && self.todo.len() >= UNANSWERED_MAX {
            // Whoever sends nonsense faster than the disk can tell is not written down each time; what is left in the
            // store goes at the next start, or with its time.
            if self.dropped == 0 {
                warn!("the store is behind: lines of the audit log and removals are left out. Check the disk under data_dir");
            }
            self.dropped += 1;
        } else {
            let _ = self.todo.send(task);
        }
        if self.dropped > 0 && self.todo.len() <= UNANSWERED_MAX / 2 {
            info!(dropped = std::mem::take(&mut self.dropped), "the store keeps up again");
        }
        if self.thread.is_none() {
            self.start();
        }
    }

    fn start(&mut self) {
        let (store, tasks, done) = (Arc::clone(&self.store), self.tasks.clone(), self.done.clone());
        let (waker, is_dead) = (self.waker.clone(), Arc::clone(&self.is_dead));
        match functions::spawn_nice("tasks", NICE, move || work(&store, &tasks, &done, &waker, &is_dead)) {
            Ok(thread) => (self.thread, self.told) = (Some(thread), false),
            Err(error) if !self.told => {
                self.told = true;
                error!(%error, "no thread for pushes and commands; they wait. The system is out of resources");
            }
            Err(_) => {}
        }
    }

    /// Ends the thread, after what was given if there is time for that.
    pub fn end(self, goodbye: bool) {
        let Self { thread, todo, tasks, is_dead, .. } = self;
        is_dead.store(!goodbye, Ordering::Relaxed);
        drop((todo, tasks));
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

/// Whether nobody waits for it, and it does little harm to leave it out.
fn is_expendable(task: &Task) -> bool {
    match task {
        Task::Audit { change: None, .. } | Task::Forget { .. } | Task::Discard { .. } | Task::System => true,
        Task::Node { task, .. } => is_expendable(task),
        _ => false,
    }
}

fn work(store: &Store, tasks: &Receiver<Box<Task>>, done: &Sender<Box<Answer>>, waker: &Thread, is_dead: &AtomicBool) {
    while let Ok(task) = tasks.recv() {
        if is_dead.load(Ordering::Relaxed) {
            return;
        }
        if let Some(answer) = store.work(*task) {
            // Nobody is left to hear it when the gateway ends.
            let _ = done.try_send(Box::new(answer));
            waker.unpark();
        }
    }
}

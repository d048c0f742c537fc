//! The thread that does what the core asks of the store, one task after the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

use eyot_core::io::{Answer, Task};
use eyot_core::task::TASKS_MAX;
use flume::{Receiver, Sender};
use tracing::warn;

use crate::functions;
use crate::store::Store;

/// Niceness of the thread: a module that is compiled must not hold up messages.
const NICE: i32 = 10;
/// What waits besides what is answered: modules and parts to be removed, lines of the audit log.
const UNANSWERED_MAX: usize = 4 * TASKS_MAX;

/// The thread, once there was something to do.
pub struct Tasks {
    store: Arc<Store>,
    thread: Option<(Sender<Box<Task>>, JoinHandle<()>)>,
    done: Sender<Box<Answer>>,
    waker: Thread,
    is_dead: Arc<AtomicBool>,
}

impl Tasks {
    /// Answers come out at the other end, of which `waker` is told.
    pub fn new(store: Store, waker: Thread) -> (Self, Receiver<Box<Answer>>) {
        let (done, answers) = flume::bounded(TASKS_MAX + UNANSWERED_MAX);
        (Self { store: Arc::new(store), thread: None, done, waker, is_dead: Arc::default() }, answers)
    }

    /// Does a task after those before it. Without a thread, here and now.
    pub fn give(&mut self, task: Box<Task>) {
        if self.thread.is_none() {
            let (todo, tasks) = flume::bounded(TASKS_MAX + UNANSWERED_MAX);
            let (store, done, waker) = (Arc::clone(&self.store), self.done.clone(), self.waker.clone());
            let is_dead = Arc::clone(&self.is_dead);
            let started = functions::spawn_nice("tasks", NICE, move || work(&store, &tasks, &done, &waker, &is_dead));
            self.thread = started.ok().map(|thread| (todo, thread));
        }
        let task = match &self.thread {
            Some((todo, _)) => match todo.try_send(task) {
                Ok(()) => return,
                Err(refused) => refused.into_inner(),
            },
            None => task,
        };
        if matches!(*task, Task::Audit { .. } | Task::Forget { .. } | Task::Discard { .. }) && self.thread.is_some() {
            // Whoever sends nonsense faster than the disk can tell is not written down each time; what is left in the
            // store goes with its time.
            warn!("the store is behind: a line of the audit log or a removal was dropped");
            return;
        }
        if let Some(answer) = self.store.work(*task) {
            let _ = self.done.try_send(Box::new(answer));
        }
    }

    /// Ends the thread, after what was given if there is time for that.
    pub fn end(self, goodbye: bool) {
        self.is_dead.store(!goodbye, Ordering::Relaxed);
        if let Some((todo, thread)) = self.thread {
            drop(todo);
            let _ = thread.join();
        }
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

//! The thread that owns the txn log. It takes everything that has queued up, appends it, makes it durable with one fsync
//! and says so; while it syncs, the next batch gathers (`SyncRequestProcessor`).

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{
    fatal,
    shared::{CoreMsg, Shared},
};
use crate::{
    ids::{Millis, Zxid},
    replica::{Input, Token},
    storage::LogWriter,
};

#[derive(Debug)]
enum Item {
    Append { zxid: Zxid, txn: Bytes },
    Roll,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<Item>,
    last: Option<Token>,
    sleeping: bool,
}

#[derive(Debug, Default)]
pub struct LogQueue {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl LogQueue {
    pub fn append(&self, token: Token, zxid: Zxid, txn: Bytes) {
        let mut queue = self.queue.lock();
        queue.items.push(Item::Append { zxid, txn });
        queue.last = Some(token);
    }

    pub fn roll(&self) {
        self.queue.lock().items.push(Item::Roll);
    }

    /// At the end of a batch: until then the thread may as well sleep.
    pub fn wake(&self) {
        let mut queue = self.queue.lock();
        if queue.sleeping && !queue.items.is_empty() {
            queue.sleeping = false;
            drop(queue);
            self.wake.notify_one();
        }
    }

    /// Waits for something to do and takes all of it.
    fn take(&self, items: &mut Vec<Item>) -> Option<Token> {
        let mut queue = self.queue.lock();
        while queue.items.is_empty() {
            queue.sleeping = true;
            self.wake.wait(&mut queue);
        }
        queue.sleeping = false;
        std::mem::swap(&mut queue.items, items);
        queue.last.take()
    }
}

/// Runs until the process ends. The first error is the last (fsyncgate: a retried fsync may claim what is lost).
pub fn run(queue: Arc<LogQueue>, mut log: LogWriter, shared: Arc<Shared>) {
    let mut items = Vec::new();
    loop {
        let last = queue.take(&mut items);
        let before = shared.clock.mono();
        let written = items.drain(..).try_for_each(|item| match item {
            Item::Append { zxid, txn } => log.append(zxid, &txn),
            Item::Roll => log.roll(),
        });
        if let Err(e) = written.and_then(|()| sync(&mut log, &shared, before)) {
            fatal::stop(
                fatal::UNEXPECTED,
                &format!(
                    "Severe unrecoverable error: the txn log cannot be written: {e}; nothing unlogged was acknowledged"
                ),
            );
        }
        if let Some(token) = last
            && shared.core.blocking_send(CoreMsg::Input(Input::Persisted { token })).is_err()
        {
            return;
        }
    }
}

/// A slow fsync (rolling and what was written since `before` included) is what operators look for first when everything is slow (B§6.2, B§11.5).
fn sync(log: &mut LogWriter, shared: &Shared, before: Millis) -> std::io::Result<()> {
    let report = log.sync()?;
    let took = shared.clock.mono() - before;
    if took > shared.config.settings.fsync_warning_ms {
        shared.stats.fsyncs_over_threshold.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tracing::warn!(
            "fsync-ing the write ahead log in SyncThread:0 took {took}ms which will adversely effect operation latency. \
             File size is {} bytes. See the ZooKeeper troubleshooting guide",
            report.file_len
        );
    }
    Ok(())
}

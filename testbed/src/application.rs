//! An application with an account of its own that goes on through refusals and lost connections, and remembers what it was
//! told to be committed.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mysql::prelude::Queryable as _;

use crate::Server;

/// The application's account, on any server that it may use.
pub const USER: &str = "app";
/// Its password.
pub const PASSWORD: &str = "app-secret";

/// Returns whether the application could write on a server now; nothing is changed.
pub fn can_write(server: &Server) -> bool {
    let Ok(mut connection) = mysql::Conn::new(options(server)) else { return false };
    connection.query_drop("DELETE FROM shop.log WHERE number < 0").is_ok()
}

fn options(server: &Server) -> mysql::OptsBuilder {
    mysql::OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(server.port())
        .prefer_socket(false)
        .user(Some(USER))
        .pass(Some(PASSWORD))
        .db_name(Some("shop"))
}

/// Inserts numbers, one after another, into `shop.log (number BIGINT UNIQUE)`, until it is dropped or finished.
#[derive(Debug)]
pub struct Application {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    /// Starts to write over TCP as the account [`USER`], which must exist. About 500 transactions a second at most.
    ///
    /// # Panics
    /// When none is acknowledged within a minute.
    pub fn start(server: &Server) -> Self {
        Self::start_after(server, 0)
    }

    /// As [`start`](Self::start), with the numbers after `last`: an application that goes on elsewhere.
    ///
    /// # Panics
    /// When none is acknowledged within a minute.
    pub fn start_after(server: &Server, last: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(last));
        let options = options(server);
        let thread = {
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                let mut connection: Option<mysql::Conn> = None;
                let mut next = last + 1;
                while !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                    let Some(open) = &mut connection else {
                        connection = mysql::Conn::new(options.clone()).ok();
                        continue;
                    };
                    let is_there = match open.exec_drop("INSERT INTO log (number) VALUES (?)", (next,)) {
                        Ok(()) => true,
                        // 1062: a COMMIT whose answer was lost.
                        Err(mysql::Error::MySqlError(error)) if error.code == 1062 => true,
                        Err(_) => {
                            connection = None;
                            false
                        }
                    };
                    if is_there {
                        acknowledged.store(next, Ordering::SeqCst);
                        next += 1;
                    }
                }
            })
        };
        let application = Application { stop, acknowledged, thread: Some(thread) };
        application.wait_for_progress();
        application
    }

    /// Returns the last number that was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until twenty more are acknowledged.
    ///
    /// # Panics
    /// When they are not within a minute.
    pub fn wait_for_progress(&self) {
        let wanted = self.acknowledged() + 20;
        let begun = std::time::Instant::now();
        while self.acknowledged() < wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "the application gets nothing committed");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends it and returns the last number that was acknowledged.
    ///
    /// # Panics
    /// When its thread panicked.
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the application panicked");
        }
        self.acknowledged()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

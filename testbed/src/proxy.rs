//! A TCP proxy that injects the faults of a bad network between a client and a server.
//!
//! Each connection has two pipes, one per direction, and each pipe two threads with a queue between them: one reads
//! and stamps every chunk with the time when it is due, the other writes it when that time has come. Latency
//! therefore delays bytes without thinning them out: as many are under way as the delay is long.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How much one direction of one connection may hold before the proxy stops reading, as a full network would.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How long a connection that is to be cut after a request waits for the server to answer that request.
const REPLY_WITHIN: Duration = Duration::from_secs(10);
/// How long a server must be silent to count as having answered.
const QUIET_FOR: Duration = Duration::from_millis(30);
/// How often a thread that cannot be woken looks whether its connection was cut.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Hook = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A running proxy; its connections are reset when it is dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// What the threads of all connections look at.
struct Shared {
    stopping: AtomicBool,
    refuse: AtomicBool,
    hang: AtomicBool,
    latency_nanos: AtomicU64,
    /// 0: no limit.
    bytes_per_second: AtomicU64,
    /// When the link has sent all that was read so far.
    link_free_at: Mutex<Option<Instant>>,
    accepted: AtomicU64,
    client_bytes: AtomicU64,
    server_bytes: AtomicU64,
    connections: Mutex<Vec<Arc<Connection>>>,
    trigger: Mutex<Trigger>,
}

/// What cuts a connection by itself. Each kind works once and is then gone.
#[derive(Default)]
struct Trigger {
    /// Bytes from clients that still pass.
    bytes_left: Option<u64>,
    /// Asked about each chunk from a client; cuts when the server has answered it.
    after: Option<Hook>,
    /// Asked about each chunk from a client; cuts without passing it on.
    before: Option<Hook>,
}

/// What to do with a chunk from a client.
enum Verdict {
    Pass,
    /// Pass so many bytes on, then cut.
    PassThenCut(usize),
    /// Pass it on, wait for the server's answer, lose that and cut.
    PassThenLoseReply,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
    /// Set when what the server sends is lost from now on.
    lost_reply: Mutex<Option<LostReply>>,
    to_server: Queue,
    to_client: Queue,
}

/// The wait for an answer that the client will not get.
struct LostReply {
    deadline: Instant,
    /// When the server last sent something.
    seen: Option<Instant>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    /// Chunks with the time when they are due; an empty chunk is the end of the stream.
    chunks: VecDeque<(Instant, Vec<u8>)>,
    byte_count: usize,
}

impl Proxy {
    /// Starts a proxy on a free port of 127.0.0.1 that passes connections on to `target`.
    ///
    /// # Panics
    /// If the address cannot be resolved or no port can be had.
    pub fn start(target: impl ToSocketAddrs) -> Self {
        let target = target.to_socket_addrs().ok().and_then(|mut all| all.next()).expect("a target address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            stopping: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            hang: AtomicBool::new(false),
            latency_nanos: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            link_free_at: Mutex::default(),
            accepted: AtomicU64::new(0),
            client_bytes: AtomicU64::new(0),
            server_bytes: AtomicU64::new(0),
            connections: Mutex::default(),
            trigger: Mutex::default(),
        });
        let for_listener = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept_all(&listener, target, &for_listener));
        Self { addr, shared, listener: Some(listener) }
    }

    /// Returns the port that clients connect to.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Returns the address that clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Delays every byte by `latency` in each direction, so that a round trip takes twice as long; throughput stays.
    pub fn set_latency(&self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.shared.latency_nanos.store(nanos, Ordering::SeqCst);
    }

    /// Lets all connections together, both directions, carry so many bytes a second, as one link does; 0 is no limit.
    pub fn set_bytes_per_second(&self, count: u64) {
        self.shared.bytes_per_second.store(count, Ordering::SeqCst);
    }

    /// Resets all present connections on both sides; bytes under way are lost.
    pub fn cut(&self) {
        for connection in lock(&self.shared.connections).drain(..) {
            connection.cut();
        }
    }

    /// Closes new connections at once, or no longer; present ones stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::SeqCst);
    }

    /// Holds all bytes of all connections back, as a network does that drops packets without a word; they flow on
    /// after `hang(false)`. New connections are accepted and hang too.
    pub fn hang(&self, hang: bool) {
        self.shared.hang.store(hang, Ordering::SeqCst);
        for connection in lock(&self.shared.connections).iter() {
            connection.to_server.changed.notify_all();
            connection.to_client.changed.notify_all();
        }
    }

    /// Passes `n` more bytes from clients on, counted over all connections, and then cuts the connection that sent
    /// the last of them. Works once.
    pub fn cut_after_client_bytes(&self, n: u64) {
        lock(&self.shared.trigger).bytes_left = Some(n);
    }

    /// Cuts a connection after a request was executed and before its answer comes back.
    ///
    /// `hook` sees what clients send, as it arrives (small requests arrive whole; under TLS it sees ciphertext).
    /// When it says true the bytes are passed on, the server's answer is awaited and lost, and that connection is
    /// reset: a client that sent `COMMIT` cannot know whether it happened, and it did. Works once.
    pub fn cut_when(&self, hook: impl FnMut(&[u8]) -> bool + Send + 'static) {
        lock(&self.shared.trigger).after = Some(Box::new(hook));
    }

    /// Cuts a connection before a request reaches the server: the counterpart of [`cut_when`](Self::cut_when) in
    /// which it did not happen. Works once.
    pub fn cut_before(&self, hook: impl FnMut(&[u8]) -> bool + Send + 'static) {
        lock(&self.shared.trigger).before = Some(Box::new(hook));
    }

    /// Returns whether none of the triggers that were set ([`cut_after_client_bytes`](Self::cut_after_client_bytes),
    /// [`cut_when`](Self::cut_when), [`cut_before`](Self::cut_before)) is still waiting.
    pub fn has_triggered(&self) -> bool {
        let trigger = lock(&self.shared.trigger);
        trigger.bytes_left.is_none() && trigger.after.is_none() && trigger.before.is_none()
    }

    /// Returns how many connections were accepted so far, refused ones not counted.
    pub fn accepted_count(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Returns how many bytes were passed on from clients to the server.
    pub fn client_bytes(&self) -> u64 {
        self.shared.client_bytes.load(Ordering::SeqCst)
    }

    /// Returns how many bytes were passed on from the server to clients.
    pub fn server_bytes(&self) -> u64 {
        self.shared.server_bytes.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The listening thread waits for a connection, so it gets one.
        let _ = TcpStream::connect(self.addr);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.cut();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept_all(listener: &TcpListener, target: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.refuse.load(Ordering::SeqCst) {
            reset_on_close(&client);
            continue;
        }
        match Connection::open(client, target) {
            Ok(connection) => connection.run(shared),
            // The client sees its connection closed, as from a server that is down.
            Err(_) => continue,
        }
    }
}

/// Makes the close of a socket a reset, which the other side cannot take for an orderly end.
fn reset_on_close(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Shared {
    /// Returns when the link has carried `count` more bytes.
    fn sent_at(&self, count: usize) -> Instant {
        let now = Instant::now();
        let per_second = self.bytes_per_second.load(Ordering::SeqCst);
        let Some(nanos) = (count as u64 * 1_000_000_000).checked_div(per_second) else { return now };
        let mut free_at = lock(&self.link_free_at);
        let sent = free_at.map_or(now, |at| at.max(now)) + Duration::from_nanos(nanos);
        *free_at = Some(sent);
        sent
    }
}

impl Connection {
    fn open(client: TcpStream, target: SocketAddr) -> io::Result<Arc<Self>> {
        let server = TcpStream::connect_timeout(&target, Duration::from_secs(10))?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(LOOK_EVERY))?;
        }
        Ok(Arc::new(Self {
            client,
            server,
            cut: AtomicBool::new(false),
            lost_reply: Mutex::default(),
            to_server: Queue::default(),
            to_client: Queue::default(),
        }))
    }

    /// Starts the four threads; the sockets close when the last of them lets go of the connection.
    fn run(self: &Arc<Self>, shared: &Arc<Shared>) {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let mut connections = lock(&shared.connections);
        connections.retain(|connection| Arc::strong_count(connection) > 1);
        connections.push(Arc::clone(self));
        drop(connections);
        let threads: [fn(&Self, &Shared); 4] = [
            |it, shared| it.read_client(shared),
            |it, shared| it.write(&it.to_server, &it.server, &shared.client_bytes, shared),
            |it, shared| it.read_server(shared),
            |it, shared| it.write(&it.to_client, &it.client, &shared.server_bytes, shared),
        ];
        for thread in threads {
            let (connection, shared) = (Arc::clone(self), Arc::clone(shared));
            std::thread::spawn(move || {
                thread(&connection, &shared);
                drop(connection);
                // A connection that ended on both sides has to be closed now, not when the next one comes.
                lock(&shared.connections).retain(|connection| Arc::strong_count(connection) > 1);
            });
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// Resets both sides. The threads wake up and let go of the sockets, whose close is then a reset.
    fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
        for stream in [&self.client, &self.server] {
            reset_on_close(stream);
            // Wakes our own reader and sends nothing, whereas the other direction would send an orderly end.
            let _ = stream.shutdown(Shutdown::Read);
        }
        for queue in [&self.to_server, &self.to_client] {
            // Under the lock, so that a thread that is about to wait cannot miss it.
            let _state = lock(&queue.state);
            queue.changed.notify_all();
        }
    }

    fn read_client(&self, shared: &Shared) {
        self.read(&self.client, &self.to_server, shared, |chunk| match shared.judge(chunk) {
            Verdict::Pass => true,
            Verdict::PassThenCut(count) => {
                // The server may answer the end of the stream with its own, which the client must not see as orderly.
                self.lose_replies();
                // Written here and now: the cut would discard what is queued.
                self.drain(&self.to_server);
                if self.write_all(&self.server, &chunk[..count]) {
                    shared.client_bytes.fetch_add(count as u64, Ordering::SeqCst);
                }
                // A reset overtakes bytes that its receiver has not read, so the server gets an orderly end first.
                let _ = self.server.shutdown(Shutdown::Write);
                std::thread::sleep(QUIET_FOR);
                self.cut();
                false
            }
            Verdict::PassThenLoseReply => {
                self.lose_replies();
                self.to_server.push(Instant::now(), chunk.to_vec(), || self.is_cut());
                self.wait_for_lost_reply();
                self.cut();
                false
            }
        });
    }

    fn read_server(&self, shared: &Shared) {
        self.read(&self.server, &self.to_client, shared, |_| match lock(&self.lost_reply).as_mut() {
            Some(lost) => {
                lost.seen = Some(Instant::now());
                false
            }
            None => true,
        });
    }

    /// Keeps from the client what the server sends from now on.
    fn lose_replies(&self) {
        *lock(&self.lost_reply) = Some(LostReply { deadline: Instant::now() + REPLY_WITHIN, seen: None });
    }

    /// Waits until the server has answered and fallen silent, as it may still owe answers to earlier requests.
    fn wait_for_lost_reply(&self) {
        while !self.is_cut() {
            let done = lock(&self.lost_reply).as_ref().is_none_or(|lost| {
                lost.seen.is_some_and(|seen| seen.elapsed() > QUIET_FOR) || Instant::now() > lost.deadline
            });
            if done {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads until the end into `queue`; `pass` looks at each chunk first, at the empty one of the end too, and may
    /// swallow it.
    fn read(&self, mut from: &TcpStream, queue: &Queue, shared: &Shared, pass: impl Fn(&[u8]) -> bool) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.cut();
                    return;
                }
            };
            if self.is_cut() {
                return;
            }
            let end = count == 0;
            if !pass(&buffer[..count]) {
                if end {
                    return;
                }
                continue;
            }
            let latency = Duration::from_nanos(shared.latency_nanos.load(Ordering::SeqCst));
            queue.push(shared.sent_at(count) + latency, buffer[..count].to_vec(), || self.is_cut());
            if end {
                return;
            }
        }
    }

    /// Waits until all that was queued is written.
    fn drain(&self, queue: &Queue) {
        while !self.is_cut() && !lock(&queue.state).chunks.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn write(&self, queue: &Queue, to: &TcpStream, counter: &AtomicU64, shared: &Shared) {
        while let Some(chunk) = queue.next_due(|| self.is_cut(), || shared.hang.load(Ordering::SeqCst)) {
            if chunk.is_empty() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if !self.write_all(to, &chunk) {
                self.cut();
                return;
            }
            counter.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            queue.done(chunk.len());
        }
    }

    /// Writes all of `chunk`; returns false if the connection broke or was cut meanwhile.
    fn write_all(&self, mut to: &TcpStream, mut chunk: &[u8]) -> bool {
        while !chunk.is_empty() {
            match to.write(chunk) {
                Ok(0) => return false,
                Ok(count) => chunk = &chunk[count..],
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return false,
            }
            if self.is_cut() {
                return false;
            }
        }
        true
    }
}

impl Shared {
    /// Decides what happens to a chunk from a client, and disarms the trigger that it pulled.
    fn judge(&self, chunk: &[u8]) -> Verdict {
        if chunk.is_empty() {
            return Verdict::Pass;
        }
        let mut trigger = lock(&self.trigger);
        if trigger.before.as_mut().is_some_and(|hook| hook(chunk)) {
            trigger.before = None;
            return Verdict::PassThenCut(0);
        }
        if trigger.after.as_mut().is_some_and(|hook| hook(chunk)) {
            trigger.after = None;
            return Verdict::PassThenLoseReply;
        }
        match trigger.bytes_left.map(|left| left.checked_sub(chunk.len() as u64).filter(|left| *left > 0)) {
            None => Verdict::Pass,
            Some(Some(left)) => {
                trigger.bytes_left = Some(left);
                Verdict::Pass
            }
            Some(None) => {
                let left = trigger.bytes_left.take().unwrap_or(0);
                Verdict::PassThenCut(usize::try_from(left).unwrap_or(chunk.len()))
            }
        }
    }
}

impl Queue {
    /// Adds a chunk, waiting while the queue is full.
    fn push(&self, due: Instant, chunk: Vec<u8>, is_cut: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        while state.byte_count > QUEUE_BYTES_MAX && !is_cut() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.byte_count += chunk.len();
        state.chunks.push_back((due, chunk));
        self.changed.notify_all();
    }

    /// Takes the first chunk when it is due and nothing holds it back; `None` when the connection was cut.
    ///
    /// The chunk stays in the queue as an empty one until [`done`](Self::done), so that an empty queue means that all
    /// was written.
    fn next_due(&self, is_cut: impl Fn() -> bool, hangs: impl Fn() -> bool) -> Option<Vec<u8>> {
        let mut state = lock(&self.state);
        loop {
            if is_cut() {
                return None;
            }
            let now = Instant::now();
            let wait = match state.chunks.front_mut() {
                // What comes next, a chunk or the cut, is announced under the lock.
                None => Duration::MAX,
                Some((due, _)) if *due > now => *due - now,
                // The flag is changed without this queue's lock, so its announcement can be missed.
                Some(_) if hangs() => LOOK_EVERY,
                Some((_, chunk)) => return Some(std::mem::take(chunk)),
            };
            state = if wait == Duration::MAX {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    /// Removes the chunk that was taken last.
    fn done(&self, byte_count: usize) {
        let mut state = lock(&self.state);
        state.byte_count -= byte_count;
        state.chunks.pop_front();
        self.changed.notify_all();
    }
}

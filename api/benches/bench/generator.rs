//! The load: keep-alive connections, each of which asks, waits for the answer, and asks again.
//!
//! It shares the machine's cores with what it measures, so it is light: one thread, HTTP/1.1 written and read by hand, buffers
//! that are used again and again. The same generator serves floors and product. In a closed loop a connection asks as soon as
//! it has its answer; in an open loop requests are due at fixed times whatever becomes of those before, and a latency counts
//! from when its request was due: a server that stalls is charged for all who would have come meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::report::{Run, histogram, record};

/// What one connection asks for.
pub(crate) trait Script: Send + 'static {
    /// Writes the next request's path and body into empty buffers; answers false when there is nothing more to ask.
    fn ask(&mut self, path: &mut Vec<u8>, body: &mut Vec<u8>) -> bool;

    /// Takes the answer, and panics if it is not the one that must come: a rate with failures in it says nothing.
    fn hear(&mut self, status: u16, body: &[u8]);
}

/// Whom to ask, and as whom.
#[derive(Clone)]
pub(crate) struct Target {
    address: String,
    /// All headers but the body's length.
    headers: String,
}

/// When is measured.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

impl Target {
    pub(crate) fn anonymous(address: &str) -> Target {
        Target { address: address.to_owned(), headers: "host: bench\r\ncontent-type: application/json\r\n".to_owned() }
    }

    pub(crate) fn with_key(address: &str, key: &str) -> Target {
        let Target { address, headers } = Target::anonymous(address);
        Target { address, headers: format!("{headers}authorization: Bearer {key}\r\n") }
    }
}

impl Window {
    /// So long, after a warm-up of a quarter of it.
    pub(crate) fn of(time: Duration) -> Window {
        Window { warm_up: time / 4, time }
    }
}

/// Each connection asks as soon as it can.
pub(crate) async fn closed<S: Script>(target: &Target, scripts: Vec<S>, window: Window) -> (Run, Vec<S>) {
    drive(target, scripts, Some(window), None).await
}

/// All connections together ask so often in a second.
pub(crate) async fn open<S: Script>(target: &Target, scripts: Vec<S>, window: Window, per_second: f64) -> (Run, Vec<S>) {
    drive(target, scripts, Some(window), Some(per_second)).await
}

/// Each connection asks until its script ends.
pub(crate) async fn through<S: Script>(target: &Target, scripts: Vec<S>) -> (Run, Vec<S>) {
    drive(target, scripts, None, None).await
}

async fn drive<S: Script>(target: &Target, scripts: Vec<S>, window: Option<Window>, per_second: Option<f64>) -> (Run, Vec<S>) {
    let target = target.clone();
    // A runtime of its own: no thread of the load does anything else.
    let driving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drive_here(&target, scripts, window, per_second))
    };
    tokio::task::spawn_blocking(driving).await.unwrap()
}

async fn drive_here<S: Script>(target: &Target, scripts: Vec<S>, window: Option<Window>, per_second: Option<f64>) -> (Run, Vec<S>) {
    let lanes = scripts.len();
    let mut connected = Vec::with_capacity(lanes);
    for script in scripts {
        connected.push((Connection::to(target).await, script));
    }
    let start = Instant::now();
    let span = Span {
        from: start + window.map_or(Duration::ZERO, |window| window.warm_up),
        // Without a window: until the scripts end.
        until: window.map(|window| start + window.warm_up + window.time),
    };
    let schedule = per_second.map(|per_second| Schedule::begin(start, span.until.unwrap(), per_second, lanes));
    let tasks: Vec<_> =
        connected.into_iter().map(|(connection, script)| tokio::spawn(lane(connection, script, span, schedule.clone()))).collect();
    let mut latencies = histogram();
    let mut scripts = Vec::with_capacity(lanes);
    for task in tasks {
        let (script, of_lane) = task.await.unwrap();
        latencies.add(of_lane).unwrap();
        scripts.push(script);
    }
    // What was due in time but answered late took as long as it took.
    let end = if schedule.is_some() { span.until.map(|until| until.max(Instant::now())) } else { span.until };
    (Run::of(latencies, end.unwrap_or_else(Instant::now) - span.from), scripts)
}

/// Between when and when it counts.
#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    until: Option<Instant>,
}

async fn lane<S: Script>(mut connection: Connection, mut script: S, span: Span, schedule: Option<Schedule>) -> (S, Histogram<u64>) {
    let mut latencies = histogram();
    loop {
        let due = match &schedule {
            Some(schedule) => schedule.next().await,
            None => Instant::now(),
        };
        if span.until.is_some_and(|until| due >= until) || !connection.ask(&mut script).await {
            return (script, latencies);
        }
        let answered = Instant::now();
        let counts = if schedule.is_some() { due } else { answered };
        if counts >= span.from && span.until.is_none_or(|until| counts < until) {
            record(&mut latencies, answered - due);
        }
    }
}

/// When requests are due. A thread wakes the connections, since the runtime's timer counts in milliseconds.
#[derive(Clone)]
struct Schedule {
    start: Instant,
    interval: Duration,
    due: Arc<Semaphore>,
    taken: Arc<AtomicU64>,
}

impl Schedule {
    fn begin(start: Instant, until: Instant, per_second: f64, lanes: usize) -> Schedule {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let schedule = Schedule { start, interval, due: Arc::new(Semaphore::new(0)), taken: Arc::default() };
        let due = Arc::clone(&schedule.due);
        std::thread::spawn(move || {
            let mut next = start;
            while next < until {
                let now = Instant::now();
                while next <= now {
                    due.add_permits(1);
                    next += interval;
                }
                std::thread::sleep(next - now);
            }
            // Each connection takes one that is due too late, and ends.
            due.add_permits(lanes + 1);
        });
        schedule
    }

    /// Waits until a request is due, and tells since when it has been.
    async fn next(&self) -> Instant {
        self.due.acquire().await.unwrap().forget();
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.start + Duration::from_secs_f64(self.interval.as_secs_f64() * number as f64)
    }
}

struct Connection {
    stream: TcpStream,
    headers: String,
    path: Vec<u8>,
    body: Vec<u8>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    async fn to(target: &Target) -> Connection {
        let stream = TcpStream::connect(&target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let buffer = || Vec::with_capacity(4096);
        Connection { stream, headers: target.headers.clone(), path: buffer(), body: buffer(), request: buffer(), answer: buffer() }
    }

    /// Asks once and hands over the answer; answers false if the script has ended.
    async fn ask(&mut self, script: &mut impl Script) -> bool {
        self.path.clear();
        self.body.clear();
        if !script.ask(&mut self.path, &mut self.body) {
            return false;
        }
        self.write_request();
        self.stream.write_all(&self.request).await.unwrap();
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.unwrap();
            assert!(read > 0, "the server closed the connection after {:?}", String::from_utf8_lossy(&self.answer));
            if let Some((status, body)) = answer(&self.answer) {
                script.hear(status, body);
                return true;
            }
        }
    }

    fn write_request(&mut self) {
        use std::io::Write as _;
        let request = &mut self.request;
        request.clear();
        request.extend_from_slice(b"POST ");
        request.extend_from_slice(&self.path);
        request.extend_from_slice(b" HTTP/1.1\r\n");
        request.extend_from_slice(self.headers.as_bytes());
        write!(request, "content-length: {}\r\n\r\n", self.body.len()).unwrap();
        request.extend_from_slice(&self.body);
    }
}

/// Status and body, once all of it is there.
fn answer(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = head.parse(bytes).unwrap() else { return None };
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map(|header| std::str::from_utf8(header.value).unwrap().parse::<usize>().unwrap());
    let body = &bytes[start..];
    let length = length.expect("an answer tells its length");
    assert!(body.len() <= length, "more was answered than asked for");
    (body.len() == length).then_some((head.code.unwrap(), body))
}

//! A relay and the command line as processes, each ended with the test that started it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// No command takes this long, on however slow a machine; one that does hangs.
const HANGS: Duration = Duration::from_secs(120);

/// A program of this build: target/<profile>/deps/<this test> lies one below it.
fn binary(name: &str) -> PathBuf {
    let path = match std::env::var_os(name.to_uppercase()) {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().join(name),
    };
    assert!(path.exists(), "{} is missing: cargo build -p transom-relay -p transom-cli", path.display());
    path
}

/// A port that nobody uses, below those that the system hands out for outgoing connections; never the same one twice. A relay
/// keeps its port when it is started again, so the system can't be asked for one each time.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id() % 8_000;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(n < 8_000, "there is no free port");
        let port = 11_000 + u16::try_from((begin + u32::from(n)) % 8_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A relay with a data directory that outlives its processes.
pub struct Relay {
    pub data: PathBuf,
    http: u16,
    https: u16,
    log_format: &'static str,
    process: Option<Running>,
    /// Everything that ended processes printed.
    printed: Printed,
}

struct Running {
    child: Child,
    out: JoinHandle<String>,
    errors: JoinHandle<String>,
}

/// What a relay wrote to its two outputs.
#[derive(Default)]
pub struct Printed {
    pub out: String,
    pub errors: String,
}

impl Relay {
    pub fn start(data: PathBuf) -> Self {
        let mut relay = Self {
            data,
            http: free_port(),
            https: free_port(),
            log_format: "text",
            process: None,
            printed: Printed::default(),
        };
        relay.start_again();
        relay
    }

    /// Its name: what addresses on it end with.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.https)
    }

    /// Where it serves without TLS.
    pub fn plain(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http))
    }

    pub fn encrypted(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.https))
    }

    pub fn log_as(&mut self, format: &'static str) {
        self.log_format = format;
    }

    /// Returns when it listens. It tells as much as it can, so that every test here also runs what only loud logs run.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the relay runs already");
        let mut child = Command::new(binary("transomd"))
            .env_clear()
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .arg("--data")
            .arg(&self.data)
            .args(["--name", &self.name()])
            .args(["--http", &self.plain().to_string()])
            .args(["--https", &self.encrypted().to_string()])
            .args(["--log-level", "trace", "--log-format", self.log_format])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = text_of(child.stderr.take().unwrap());
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut begin = String::new();
        while !begin.contains(&format!("https://{}", self.encrypted())) {
            if reader.read_line(&mut begin).unwrap() == 0 {
                panic!("the relay ended before it listened: {}", errors.join().unwrap());
            }
        }
        let out = std::thread::spawn(move || {
            let mut text = begin;
            reader.read_to_string(&mut text).unwrap();
            text
        });
        self.process = Some(Running { child, out, errors });
    }

    /// As `kill -9`: between any two instructions.
    pub fn kill(&mut self) {
        self.process.as_mut().expect("the relay runs").child.kill().unwrap();
        self.ended();
    }

    pub fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Asks it to stop and waits until it has; true if it says that all went well.
    pub fn stop(&mut self) -> bool {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.ended()
    }

    fn ended(&mut self) -> bool {
        let mut running = self.process.take().expect("the relay runs");
        let status = running.child.wait().unwrap();
        self.printed.out += &running.out.join().unwrap();
        self.printed.errors += &running.errors.join().unwrap();
        status.success()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the relay runs").child.id()
    }

    /// What the processes that have ended wrote.
    pub fn printed(&self) -> &Printed {
        &self.printed
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(running) = &mut self.process {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

fn text_of(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

/// Somebody's profile, and the name that the account has in tests.
#[derive(Debug, Clone)]
pub struct Person {
    home: PathBuf,
    pub profile: String,
}

impl Person {
    pub fn new(home: &Path, profile: &str) -> Self {
        Self { home: home.to_owned(), profile: profile.to_owned() }
    }

    /// Starts a command with `--json`.
    pub fn begin(&self, words: &[&str]) -> Transom {
        let mut child = Command::new(binary("transom"))
            .env_clear()
            .env("TRANSOM_HOME", &self.home)
            .env("TRANSOM_PROFILE", &self.profile)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .args(["--json", "--timeout", "60"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let errors = text_of(child.stderr.take().unwrap());
        Transom { words: words.join(" "), child, lines, errors: Some(errors), seen: Vec::new() }
    }

    /// Runs a command to its end, which must be a good one; what it printed.
    pub fn run(&self, words: &[&str]) -> Vec<Value> {
        let ended = self.begin(words).end();
        assert_eq!(ended.code, Some(0), "{} could not {words:?}: {ended:#?}", self.profile);
        ended.out
    }

    pub fn register(&self, relay: &Relay) -> String {
        let address = format!("{}@{}", self.profile, relay.name());
        self.run(&["register", &address]);
        address
    }

    /// The ids, texts and senders of a conversation's texts, as a person sees them, in their order.
    pub fn texts(&self, conversation: &str) -> Vec<Seen> {
        let shown = self.run(&["show", conversation, "--limit", "5000"]);
        shown.iter().filter(|message| message["kind"] == "text").map(Seen::of).collect()
    }
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub id: String,
    pub from: String,
    pub text: String,
    pub seq: u64,
}

impl Seen {
    pub fn of(message: &Value) -> Self {
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        Self { id: text("id"), from: text("from"), text: text("text"), seq: message["seq"].as_u64().unwrap_or(0) }
    }
}

/// A `transom` process.
pub struct Transom {
    words: String,
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
    seen: Vec<Value>,
}

/// What a process printed, and its exit code; none if it was killed.
#[derive(Debug)]
pub struct Ended {
    pub out: Vec<Value>,
    pub code: Option<i32>,
}

impl Ended {
    /// It said that what was asked for is done.
    pub fn is_acknowledged(&self) -> bool {
        self.out.iter().any(|line| line["event"] == "done")
    }
}

impl Transom {
    fn line(&mut self, within: Duration) -> Result<Value, RecvTimeoutError> {
        let line = self.lines.recv_timeout(within)?;
        // A line of a process that was killed may be half of one.
        let value: Value = serde_json::from_str(&line).unwrap_or(Value::String(line));
        self.seen.push(value.clone());
        Ok(value)
    }

    /// Reads on until an event of this name; returns it.
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            match self.line(HANGS) {
                Ok(value) if value["event"] == name => return value,
                Ok(_) => {}
                Err(error) => {
                    let _ = self.child.kill();
                    panic!("`{}`: no '{name}' came ({error}); before it: {:#?}", self.words, self.seen)
                }
            }
        }
    }

    /// Reads one line, whatever it says; a process that has connected always has some to say.
    pub fn any_event(&mut self) {
        if let Err(error) = self.line(HANGS) {
            panic!("`{}` said nothing more ({error}) after {:#?}", self.words, self.seen);
        }
    }

    /// The next text that comes; for `watch`.
    pub fn text(&mut self) -> Seen {
        loop {
            let event = self.event("message");
            if event["message"]["kind"] == "text" {
                return Seen::of(&event["message"]);
            }
        }
    }

    /// Kills it (-9) when this time has passed, unless it has ended by then.
    pub fn kill_after(mut self, time: Duration) -> Ended {
        let end = std::time::Instant::now() + time;
        while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
            match self.line(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
        self.kill()
    }

    /// Kills it (-9).
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        loop {
            match self.line(HANGS) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("`{}` hangs; it printed {:#?}", self.words, self.seen);
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        let errors = self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default();
        // With --json everything is said in objects on standard output; a library that logs, or a panic, would show here.
        assert_eq!(errors, "", "`{}` wrote to standard error", self.words);
        Ended { out: std::mem::take(&mut self.seen), code }
    }
}

impl Drop for Transom {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

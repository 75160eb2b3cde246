//! A relay and command-line processes, each ended with the test that started it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// No command of a transcript takes this long, on however slow a machine; one that does hangs.
const HANGS: Duration = Duration::from_secs(180);

/// A relay with a data directory that outlives its processes.
pub struct Relay {
    data: PathBuf,
    pub http: u16,
    pub https: u16,
    process: Option<Child>,
}

impl Relay {
    pub fn new(home: &Path) -> Self {
        Self { data: home.join("relay"), http: free_port(), https: free_port(), process: None }
    }

    /// Its name: what addresses on it end with.
    pub fn name(&self) -> String {
        format!("localhost:{}", self.https)
    }

    /// Returns when it listens.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "the relay runs already");
        let mut child = Command::new(binary())
            .env_clear()
            .arg("--data")
            .arg(&self.data)
            .args(["--name", &self.name()])
            .args(["--http", &format!("127.0.0.1:{}", self.http)])
            .args(["--https", &format!("127.0.0.1:{}", self.https)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains(&format!("https://127.0.0.1:{}", self.https)) {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "the relay ended before it listened");
        }
        // Nobody reads on; it must not block when its pipe is full.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        self.process = Some(child);
    }

    /// As `kill -9`: between any two instructions.
    pub fn kill(&mut self) {
        let mut child = self.process.take().expect("the relay runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// All that it kept is gone but its certificate, as after the loss of a disk, or where somebody wants it to look so.
    pub fn forget(&mut self) {
        assert!(self.process.is_none(), "the relay runs");
        for entry in std::fs::read_dir(&self.data).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                std::fs::remove_file(path).unwrap();
            } else if !path.ends_with("tls") {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    }

    /// Another one in its place: it knows nothing, and shows another certificate.
    pub fn replace(&mut self) {
        assert!(self.process.is_none(), "the relay runs");
        std::fs::remove_dir_all(&self.data).unwrap();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// A port that nobody uses, below those that the system hands out for outgoing connections; never the same one twice. A relay
/// keeps its port when it is started again, so the system can't be asked for one each time.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id() % 10_000;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(n < 10_000, "there is no free port");
        let port = 20_000 + u16::try_from((begin + u32::from(n)) % 10_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn binary() -> PathBuf {
    let path = match std::env::var_os("TRANSOMD") {
        Some(path) => path.into(),
        None => {
            // target/<profile>/deps/<this test>
            let deps = std::env::current_exe().unwrap();
            deps.parent().and_then(Path::parent).unwrap().join("transomd")
        }
    };
    assert!(path.exists(), "{} is missing: cargo build -p transom-relay", path.display());
    path
}

/// Nothing of the machine's own settings: neither its user's profile nor their colours.
fn transom(home: &Path, profile: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_transom"));
    command.env_clear().env("TRANSOM_HOME", home).env("TRANSOM_PROFILE", profile).env("TZ", "UTC");
    command
}

/// A `transom` process.
pub struct Transom {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Line>,
    out: Vec<String>,
    errors: Vec<String>,
}

enum Line {
    Out(String),
    Error(String),
}

/// What a process printed, and its exit code.
pub struct Ended {
    pub out: Vec<String>,
    pub errors: Vec<String>,
    pub code: Option<i32>,
}

impl Transom {
    pub fn start(home: &Path, profile: &str, words: &[String], environment: &[(String, String)]) -> Self {
        let mut command = transom(home, profile);
        command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        Self::listen(child, out)
    }

    /// The same with a terminal of so many columns for its output.
    pub fn on_terminal(home: &Path, profile: &str, words: &[&str], environment: &[(&str, &str)], columns: u16) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = File::options().read(true).write(true).open(theirs).unwrap();
        let mut command = transom(home, profile);
        command.args(words).envs(environment.iter().copied());
        let child = command.stdin(Stdio::piped()).stdout(theirs).stderr(Stdio::piped()).spawn().unwrap();
        // Its end of the terminal has to be closed here, so that the last line is seen to be the last.
        drop(command);
        Self::listen(child, File::from(ours))
    }

    fn listen(mut child: Child, out: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(out);
        let errors = BufReader::new(child.stderr.take().unwrap());
        let error_sender = sender.clone();
        // A terminal ends its lines with a carriage return, too, and its reader's last answer is an error.
        let line = |line: String| line.trim_end_matches('\r').to_owned();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|text| sender.send(Line::Out(line(text))))
        });
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| error_sender.send(Line::Error(line)))
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, out: Vec::new(), errors: Vec::new() }
    }

    /// The next line of output.
    pub fn next(&mut self) -> String {
        loop {
            if let Some(line) = self.until("").pop() {
                return line;
            }
        }
    }

    pub fn input(&mut self, text: &str) {
        if let Some(mut stdin) = self.stdin.take() {
            stdin.write_all(text.as_bytes()).unwrap();
        }
    }

    /// Reads until a line that contains `text`; returns the lines of output up to it.
    pub fn until(&mut self, text: &str) -> Vec<String> {
        loop {
            let is_last = match self.lines.recv_timeout(HANGS) {
                Ok(Line::Out(line)) => {
                    let is_last = line.contains(text);
                    self.out.push(line);
                    is_last
                }
                Ok(Line::Error(line)) => {
                    let is_last = line.contains(text);
                    self.errors.push(line);
                    is_last
                }
                Err(error) => {
                    let _ = self.child.kill();
                    panic!("no line with '{text}' came ({error}); before it: {:#?} {:#?}", self.out, self.errors)
                }
            };
            if is_last {
                return std::mem::take(&mut self.out);
            }
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        drop(self.stdin.take());
        loop {
            match self.lines.recv_timeout(HANGS) {
                Ok(Line::Out(line)) => self.out.push(line),
                Ok(Line::Error(line)) => self.errors.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("the command hangs; it printed {:#?} {:#?}", self.out, self.errors);
                }
            }
        }
        let code = self.child.wait().unwrap().code();
        Ended { out: self.out, errors: self.errors, code }
    }

    /// Ends it as Ctrl+C or `kill -9` would.
    pub fn signal(&mut self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

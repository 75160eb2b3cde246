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
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

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
    pub fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), http: free_port(), https: free_port(), process: None }
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

/// The port of a server that knows HTTP and nothing of relays; it lives as long as this process.
pub fn web_server() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                // What is asked is not looked at, but read: where bytes lie unread at its end, a connection ends as if it broke.
                let _ = (&stream).read(&mut [0; 4096]);
                let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = (&stream).write_all(answer.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    port
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
fn transom(home: &Path, profile: &str, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("TRANSOM_HOME", home).env("TRANSOM_PROFILE", profile).env("TZ", "UTC");
    command
}

/// Variables of the environment; those without a value are taken away.
fn set(command: &mut Command, environment: &[(String, String)]) {
    for (name, value) in environment {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
}

/// Both ends of a terminal of so many columns: who sits at it, and what runs in it.
fn terminal(columns: u16) -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = File::options().read(true).write(true).open(theirs).unwrap();
    (File::from(ours), theirs)
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
        let mut command = transom(home, profile, env!("CARGO_BIN_EXE_transom"));
        command.args(words);
        set(&mut command, environment);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        Self::listen(child, out)
    }

    /// The same with a terminal of so many columns for its output.
    pub fn on_terminal(home: &Path, profile: &str, words: &[&str], environment: &[(&str, &str)], columns: u16) -> Self {
        let (ours, theirs) = terminal(columns);
        let mut command = transom(home, profile, env!("CARGO_BIN_EXE_transom"));
        command.args(words).envs(environment.iter().copied());
        let child = command.stdin(Stdio::piped()).stdout(theirs).stderr(Stdio::piped()).spawn().unwrap();
        // Its end of the terminal has to be closed here, so that the last line is seen to be the last.
        drop(command);
        Self::listen(child, ours)
    }

    /// The same for somebody who sits at it and has typed `typed` by the time that he is asked. It has no colours, and does not show
    /// what is typed, since that would stand in front of the questions.
    pub fn with_person(
        home: &Path,
        profile: &str,
        words: &[String],
        environment: &[(String, String)],
        typed: &str,
    ) -> Self {
        let (mut ours, theirs) = terminal(100);
        let mut modes = tcgetattr(&theirs).unwrap();
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&theirs, OptionalActions::Now, &modes).unwrap();
        ours.write_all(typed.as_bytes()).unwrap();
        // Passphrases are read from the terminal that a process belongs to, not from its input.
        let mut command = transom(home, profile, "setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_transom")]).args(words).env("TERM", "dumb");
        set(&mut command, environment);
        let (out, errors) = (theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
        let child = command.stdin(theirs).stdout(out).stderr(errors).spawn().unwrap();
        // As above; all that it says comes from there.
        drop(command);
        Self::listen(child, ours)
    }

    fn listen(mut child: Child, out: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(out);
        let errors = child.stderr.take().map(BufReader::new);
        let error_sender = sender.clone();
        // A terminal ends its lines with a carriage return, too, and its reader's last answer is an error.
        let line = |line: String| line.trim_end_matches('\r').to_owned();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|text| sender.send(Line::Out(line(text))))
        });
        std::thread::spawn(move || {
            let mut lines = errors.into_iter().flat_map(BufRead::lines).map_while(Result::ok);
            lines.try_for_each(|line| error_sender.send(Line::Error(line)))
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

    pub fn input(&mut self, bytes: &[u8]) {
        if let Some(mut stdin) = self.stdin.take() {
            stdin.write_all(bytes).unwrap();
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

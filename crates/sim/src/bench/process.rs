//! The other processes: the relay under test, the null relay beside it, and the load generators. Each is ended by its id.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any step may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// A child with its lines.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (lines, received) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if lines.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { input: child.stdin.take(), child, lines: received })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn line(&self) -> io::Result<String> {
        self.lines.recv_timeout(PATIENCE).map_err(|_| io::Error::other("a process ended or said nothing for too long"))
    }

    /// Waits until the generator is ready.
    pub fn ready(&self) -> io::Result<()> {
        match self.line()?.as_str() {
            "ready" => Ok(()),
            other => Err(io::Error::other(format!("a generator said: {other}"))),
        }
    }

    /// Lets it go on.
    pub fn go(&mut self) -> io::Result<()> {
        let input = self.input.as_mut().ok_or_else(|| io::Error::other("no input"))?;
        input.write_all(b"go\n").and_then(|()| input.flush())
    }

    /// Waits for its figures.
    pub fn figures(&self) -> io::Result<Figures> {
        let line = self.line()?;
        serde_json::from_str(&line).map(Figures).map_err(|_| io::Error::other(format!("a generator said: {line}")))
    }

    /// Kills it at once, as kill -9 does.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a generator found.
pub struct Figures(Value);

impl Figures {
    /// One of them; 0 if it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// A relay that listens.
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it listens for plain HTTP.
    pub http: String,
    /// Where it listens for HTTPS, if it does.
    pub https: Option<String>,
    /// How long it took until it listened.
    pub started_in: Duration,
    /// The certificate that clients trust.
    pub authority: PathBuf,
}

/// Starts the release binary of the relay that lies beside this program.
pub fn transomd(dir: &Path, tls: bool) -> io::Result<Server> {
    let program = std::env::current_exe()?.with_file_name("transomd");
    if !program.exists() {
        return Err(io::Error::other(format!("{} is not built", program.display())));
    }
    std::fs::create_dir_all(dir)?;
    let config = dir.join("transomd.toml");
    std::fs::write(&config, "[rates]\nunlimited = true\n[connections]\ntotal = 20000\n")?;
    let log = OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    let data = dir.join("data");
    let mut command = Command::new(program);
    command.arg("--config").arg(&config).arg("--data").arg(&data).args([
        "--http",
        "127.0.0.1:0",
        "--log-level",
        "warn",
    ]);
    command.args(["--name", "localhost", "--https", if tls { "127.0.0.1:0" } else { "off" }]).stderr(log);
    serve(&mut command, tls, data.join("tls").join("ca.pem"))
}

/// Starts a null relay; `durable` with a file that is synced before the answer.
pub fn null(durable: Option<&Path>) -> io::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("null-relay").args(durable);
    serve(&mut command, false, PathBuf::new())
}

fn serve(command: &mut Command, tls: bool, authority: PathBuf) -> io::Result<Server> {
    let begun = Instant::now();
    let process = Process::start(command)?;
    let (mut http, mut https) = (None, None);
    while http.is_none() || (tls && https.is_none()) {
        let line = process.line()?;
        let Some(address) = line.strip_prefix("listening on") else { continue };
        if let Some(address) = address.trim().strip_prefix("http://") {
            http = Some(address.to_owned());
        } else if let Some(address) = address.trim().strip_prefix("https://") {
            https = Some(address.to_owned());
        }
    }
    Ok(Server { process, http: http.unwrap_or_default(), https, started_in: begun.elapsed(), authority })
}

/// Starts a load generator: this program again, in a process of its own.
pub fn generator(workload: &str, settings: &[(&str, String)]) -> io::Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("generate").arg(workload);
    command.args(settings.iter().map(|(name, value)| format!("{name}={value}")));
    Process::start(&mut command)
}

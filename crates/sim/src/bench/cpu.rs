//! Who used the processors while something was measured: the server, the load generator, and everything else on the machine.

use std::io;
use std::time::{Duration, Instant};

/// Above this share of the machine used by others a figure is called noisy.
pub const NOISY: f64 = 0.05;

fn ticks_a_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// Seconds in which any processor of the machine was busy.
fn machine() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, then idle and iowait, which are not busy, then irq, softirq and steal.
    let busy: f64 =
        ticks.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    Ok(busy / ticks_a_second())
}

/// Seconds of processor time that a process took. 0 for one that is gone.
fn process(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the last parenthesis may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<f64>().ok()).sum();
    ticks / ticks_a_second()
}

/// Processor time of this thread: what an operation takes however busy the machine is.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of a process that are in memory.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A measurement that has begun.
pub struct Meter {
    server: Option<u32>,
    generator: u32,
    at: (f64, f64, f64),
    begun: Instant,
}

/// Processor time between a beginning and an end.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    /// Seconds of the server.
    pub server: f64,
    /// Seconds of the load generator; of this process where there is no other one.
    pub generator: f64,
    /// The share of the machine that others used.
    pub foreign: f64,
}

impl Meter {
    /// Begins.
    pub fn begin(server: Option<u32>, generator: u32) -> io::Result<Self> {
        let at = (machine()?, server.map_or(0.0, process), process(generator));
        Ok(Self { server, generator, at, begun: Instant::now() })
    }

    /// Ends.
    pub fn end(&self) -> io::Result<Used> {
        let time = self.begun.elapsed().as_secs_f64();
        let server = self.server.map_or(0.0, process) - self.at.1;
        let generator = process(self.generator) - self.at.2;
        let all = machine()? - self.at.0;
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let foreign = ((all - server - generator) / (time * cores)).max(0.0);
        Ok(Used { server, generator, foreign })
    }
}

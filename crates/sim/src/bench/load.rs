//! The load generators: each runs in a process of its own, one thread, one task for each connection. A generator says `ready`, waits
//! for a line, does its work, and prints its figures as one line of JSON; some do so twice.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, Write};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};
use wire::{ClientFrame, EntryId, Epoch, Push, Request, Response, Seq, ServerFrame};

use super::socket::{Log, Seen, Socket, Target, Template, body, look};

/// Frames that a task reads before it writes.
const READ_AT_ONCE: usize = 64;
/// Of so many frames one is decoded in full.
const LOOK_CLOSELY: u64 = 32;
/// Before a measurement, so that pages are mapped and memtables have begun.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections that are being made at the same time.
const CONNECTING: usize = 128;

struct Settings(HashMap<String, String>);

impl Settings {
    fn number(&self, name: &str) -> io::Result<u64> {
        let value = self.0.get(name).and_then(|value| value.parse().ok());
        value.ok_or_else(|| io::Error::other(format!("the setting {name} is missing")))
    }

    fn target(&self) -> io::Result<Target> {
        let authority = self.0.get("authority").map(String::as_str);
        Target::new(self.0.get("address").map_or("", String::as_str), authority)
    }
}

/// Runs a workload.
pub fn run(workload: &str, settings: &[String]) -> io::Result<()> {
    let pairs = settings.iter().filter_map(|setting| setting.split_once('='));
    let settings = Settings(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    super::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let workload = workload.to_owned();
    LocalSet::new().block_on(&runtime, async move {
        match workload.as_str() {
            "stream" => stream(&settings).await,
            "store" => store(&settings).await,
            "idle" => idle(&settings).await,
            "storm" => storm(&settings).await,
            other => Err(io::Error::other(format!("there is no workload {other}"))),
        }
    })
}

/// Says that it is ready, and waits until it may go on.
async fn go() -> io::Result<()> {
    say("ready")?;
    let read = || {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    };
    match tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?? {
        line if line.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())
}

fn figures(value: &Value) -> io::Result<()> {
    say(&value.to_string())
}

async fn create(target: &Target, logs: &[Log]) -> io::Result<()> {
    let mut errand = Socket::connect(target).await?;
    errand.ask(logs.iter().map(Log::creation).collect()).await.map(|_| ())
}

/// One log, its writer and its readers.
struct Flow {
    window: u64,
    readers: u64,
    sent: Cell<u64>,
    acked: Cell<u64>,
    delivered: Cell<u64>,
    writer: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Totals {
    delivered: Cell<u64>,
    acked: Cell<u64>,
    lagged: Cell<u64>,
    measuring: Cell<bool>,
    latencies: RefCell<Vec<u32>>,
    failure: RefCell<Option<String>>,
}

impl Flow {
    fn may_send(&self) -> bool {
        let sent = self.sent.get();
        // Readers that are behind hold the writer up too: nothing here is measured by letting them lag.
        sent - self.acked.get() < self.window
            && sent * self.readers - self.delivered.get() < 4 * self.window * self.readers
    }
}

/// `flows` logs with one writer and `readers` readers each, `window` appends in flight; for `seconds`.
async fn stream(settings: &Settings) -> io::Result<()> {
    let target = settings.target()?;
    let (flows, readers) = (settings.number("flows")?, settings.number("readers")?);
    let (window, length) = (settings.number("window")?, settings.number("body")? as usize);
    let seconds = settings.number("seconds")?;
    let logs: Vec<Log> = (0..flows).map(|number| Log::new(1, number)).collect();
    create(&target, &logs).await?;
    let totals = Rc::new(Totals::default());
    let mut writers = Vec::new();
    for log in &logs {
        let flow = Rc::new(Flow {
            window,
            readers,
            sent: Cell::new(0),
            acked: Cell::new(0),
            delivered: Cell::new(0),
            writer: RefCell::default(),
        });
        for _ in 0..readers {
            let mut socket = Socket::connect(&target).await?;
            socket.open(std::slice::from_ref(log)).await?;
            socket.ask(vec![Request::Subscribe { logs: vec![log.following(1)] }]).await?;
            let reader =
                Reader { socket, flow: flow.clone(), totals: totals.clone(), log: log.clone(), length, seen: 0 };
            tokio::task::spawn_local(reader.run());
        }
        let mut socket = Socket::connect(&target).await?;
        socket.open(std::slice::from_ref(log)).await?;
        let started = vec![Instant::now(); window as usize];
        let template = Template::append(log, length)?;
        writers.push(Writer { socket, flow, totals: totals.clone(), template, started });
    }
    for writer in writers {
        tokio::task::spawn_local(writer.run());
    }
    tokio::time::sleep(WARM_UP).await;
    go().await?;
    totals.measuring.set(true);
    let before = (totals.delivered.get(), totals.acked.get());
    let begun = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let time = begun.elapsed().as_secs_f64();
    totals.measuring.set(false);
    if let Some(failure) = totals.failure.borrow().as_ref() {
        return Err(io::Error::other(failure.clone()));
    }
    let mut latencies = totals.latencies.take();
    latencies.sort_unstable();
    let at = |share: usize| latencies.get(latencies.len() * share / 100).map_or(0.0, |us| f64::from(*us) / 1000.0);
    figures(&json!({
        "delivered": totals.delivered.get() - before.0,
        "acked": totals.acked.get() - before.1,
        "seconds": time,
        "p50_ms": at(50),
        "p99_ms": at(99),
        "lagged": totals.lagged.get(),
    }))
}

struct Writer {
    socket: Socket,
    flow: Rc<Flow>,
    totals: Rc<Totals>,
    template: Template,
    started: Vec<Instant>,
}

impl Writer {
    async fn run(mut self) {
        let result = poll_fn(|cx| self.poll(cx)).await;
        self.totals.failure.borrow_mut().get_or_insert_with(|| format!("a writer: {result}"));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.flow.writer.replace(Some(cx.waker().clone()));
        loop {
            let mut more = true;
            for _ in 0..READ_AT_ONCE {
                let frame = match self.socket.poll_frame(cx) {
                    Poll::Pending => {
                        more = false;
                        break;
                    }
                    Poll::Ready(Ok(frame)) => frame,
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                };
                match look(&frame) {
                    Some(Seen::Answer(id)) => {
                        self.flow.acked.set(self.flow.acked.get() + 1);
                        self.totals.acked.set(self.totals.acked.get() + 1);
                        if self.totals.measuring.get() {
                            let started = self.started[(Template::slot(id) % self.flow.window) as usize];
                            let took = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                            self.totals.latencies.borrow_mut().push(took);
                        }
                    }
                    _ => return Poll::Ready(io::Error::other("an append was refused")),
                }
            }
            while self.flow.may_send() {
                let number = self.flow.sent.get();
                let slot = number % self.flow.window;
                self.started[slot as usize] = Instant::now();
                let frame = self.template.frame(slot, number);
                if let Err(error) = self.socket.queue(frame) {
                    return Poll::Ready(error);
                }
                self.flow.sent.set(number + 1);
            }
            match self.socket.poll_flush(cx) {
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if !more {
                return Poll::Pending;
            }
        }
    }
}

struct Reader {
    socket: Socket,
    flow: Rc<Flow>,
    totals: Rc<Totals>,
    log: Log,
    length: usize,
    seen: u64,
}

impl Reader {
    async fn run(mut self) {
        let error = poll_fn(|cx| self.poll(cx)).await;
        self.totals.failure.borrow_mut().get_or_insert_with(|| format!("a reader: {error}"));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (mut more, mut delivered) = (true, 0);
            for _ in 0..READ_AT_ONCE {
                let frame = match self.socket.poll_frame(cx) {
                    Poll::Pending => {
                        more = false;
                        break;
                    }
                    Poll::Ready(Ok(frame)) => frame,
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                };
                match self.frame(&frame) {
                    Ok(entries) => delivered += entries,
                    Err(error) => return Poll::Ready(error),
                }
            }
            if delivered > 0 {
                self.totals.delivered.set(self.totals.delivered.get() + delivered);
                let could = self.flow.may_send();
                self.flow.delivered.set(self.flow.delivered.get() + delivered);
                if !could && let Some(writer) = self.flow.writer.take() {
                    writer.wake();
                }
            }
            if let Poll::Ready(Err(error)) = self.socket.poll_flush(cx) {
                return Poll::Ready(error);
            }
            if !more {
                return Poll::Pending;
            }
        }
    }

    fn frame(&mut self, frame: &Bytes) -> io::Result<u64> {
        let seen = look(frame).ok_or_else(|| io::Error::other("not a frame"))?;
        match seen {
            Seen::Entries(entries) => {
                self.seen += 1;
                if self.seen.is_multiple_of(LOOK_CLOSELY) {
                    self.check(frame, entries)?;
                }
                Ok(entries)
            }
            Seen::Answer(_) => Ok(0),
            Seen::Refusal(_) => Err(io::Error::other("a subscription was refused")),
            Seen::Other => match ServerFrame::decode(frame.clone()) {
                Ok(ServerFrame::Push(Push::Lagged { seq, .. })) => {
                    self.totals.lagged.set(self.totals.lagged.get() + 1);
                    let request = Request::Subscribe { logs: vec![self.log.following(seq.0)] };
                    self.socket.queue(ClientFrame { id: 1, request }.encode())?;
                    Ok(0)
                }
                _ => Err(io::Error::other("something unexpected was pushed")),
            },
        }
    }

    fn check(&self, frame: &Bytes, entries: u64) -> io::Result<()> {
        match ServerFrame::decode(frame.clone()).map_err(io::Error::other)? {
            ServerFrame::Push(Push::Entries { entries: decoded, log, .. })
                if log == self.log.id
                    && decoded.len() as u64 == entries
                    && decoded.iter().all(|entry| entry.body.len() == self.length) =>
            {
                Ok(())
            }
            _ => Err(io::Error::other("a push is not what it seemed")),
        }
    }
}

/// `senders` write `entries` in all (or for `seconds`) into `logs` logs while nobody reads; then, if `drain` is 1, a reader for each log
/// comes and reads it to its end.
async fn store(settings: &Settings) -> io::Result<()> {
    let target = settings.target()?;
    let (senders, count) = (settings.number("senders")?, settings.number("logs")?);
    let (length, seconds) = (settings.number("body")? as usize, settings.number("seconds")?);
    let share = settings.number("entries")?.div_ceil(senders);
    let logs: Vec<Log> = (0..count).map(|number| Log::new(2, number)).collect();
    create(&target, &logs).await?;
    let mut sockets = Vec::new();
    let each = (count / senders) as usize;
    for own in logs.chunks(each.max(1)) {
        let mut socket = Socket::connect(&target).await?;
        socket.open(own).await?;
        let templates = own.iter().map(|log| Template::append(log, length)).collect::<io::Result<Vec<_>>>()?;
        sockets.push((socket, templates));
    }
    go().await?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for (socket, templates) in sockets {
        tasks.spawn_local(fill(socket, templates, share, until));
    }
    let mut stored = 0;
    while let Some(done) = tasks.join_next().await {
        stored += done.map_err(io::Error::other)??;
    }
    figures(&json!({"stored": stored, "seconds": begun.elapsed().as_secs_f64()}))?;
    if settings.number("drain")? == 0 {
        return go().await;
    }
    let mut readers = Vec::new();
    for log in &logs {
        readers.push((Socket::connect(&target).await?, log.clone()));
    }
    go().await?;
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for (socket, log) in readers {
        tasks.spawn_local(drain(socket, log));
    }
    let mut drained = 0;
    while let Some(done) = tasks.join_next().await {
        drained += done.map_err(io::Error::other)??;
    }
    figures(&json!({"drained": drained, "seconds": begun.elapsed().as_secs_f64()}))
}

/// Appends in flight of one sender: the limit for a connection and a log, for each of its logs, and never more than it reads at once.
const FILL_WINDOW: u64 = 64;

async fn fill(mut socket: Socket, mut templates: Vec<Template>, share: u64, until: Instant) -> io::Result<u64> {
    let window = FILL_WINDOW.min(16 * templates.len() as u64);
    let (mut sent, mut acked) = (0, 0);
    poll_fn(|cx| {
        loop {
            let mut more = true;
            for _ in 0..READ_AT_ONCE {
                match answer(&mut socket, cx) {
                    Poll::Pending => {
                        more = false;
                        break;
                    }
                    Poll::Ready(Ok(())) => acked += 1,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            while sent < share && sent - acked < window && Instant::now() < until {
                let at = (sent % templates.len() as u64) as usize;
                let frame = templates[at].frame(sent % window, sent);
                socket.queue(frame)?;
                sent += 1;
            }
            let flushed = socket.poll_flush(cx)?;
            if sent == acked && flushed.is_ready() {
                return Poll::Ready(Ok(acked));
            }
            if !more {
                return Poll::Pending;
            }
        }
    })
    .await
}

fn answer(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let Poll::Ready(frame) = socket.poll_frame(cx)? else { return Poll::Pending };
    Poll::Ready(match look(&frame) {
        Some(Seen::Answer(_)) => Ok(()),
        _ => Err(io::Error::other("an append was refused")),
    })
}

/// Reads a log to its end, page by page.
async fn drain(mut socket: Socket, log: Log) -> io::Result<u64> {
    socket.open(std::slice::from_ref(&log)).await?;
    let (mut from, mut read) = (Seq(1), 0);
    loop {
        let request = Request::Read { log: log.id, epoch: Epoch(0), from, max_bytes: 256 << 10 };
        for answer in socket.ask(vec![request]).await?.0 {
            let Response::Page { entries, more, .. } = answer else { return Err(io::Error::other("not a page")) };
            read += entries.len() as u64;
            match entries.last() {
                Some(last) if more => from = last.seq.next(),
                _ => return Ok(read),
            }
        }
    }
}

/// `connections` connections, each following 9 logs of its own and one that it shares with 99 others, in which 64 KiB are said once.
async fn idle(settings: &Settings) -> io::Result<()> {
    const OWN: u64 = 9;
    const SHARING: u64 = 100;
    let target = settings.target()?;
    let plain = Target::new(settings.0.get("plain").map_or("", String::as_str), None)?;
    let connections = settings.number("connections")?;
    let own = |number: u64| (0..OWN).map(move |at| Log::new(3, number * OWN + at));
    let shared: Vec<Log> = (0..connections.div_ceil(SHARING)).map(|number| Log::new(4, number)).collect();
    let all: Vec<Log> = (0..connections).flat_map(own).chain(shared.iter().cloned()).collect();
    create(&plain, &all).await?;
    drop(all);
    go().await?;
    let begun = Instant::now();
    let mut sockets = Vec::new();
    let mut joining = JoinSet::new();
    for number in 0..connections {
        let (target, common) = (target.clone(), shared[(number / SHARING) as usize].clone());
        joining.spawn_local(async move {
            let mut socket = Socket::connect(&target).await?;
            let logs: Vec<Log> = own(number).chain([common]).collect();
            socket.open(&logs).await?;
            let logs = logs.iter().map(|log| log.following(1)).collect();
            socket.ask(vec![Request::Subscribe { logs }]).await?;
            Ok::<_, io::Error>(socket)
        });
        if joining.len() >= CONNECTING
            && let Some(joined) = joining.join_next().await
        {
            sockets.push(joined.map_err(io::Error::other)??);
        }
    }
    while let Some(joined) = joining.join_next().await {
        sockets.push(joined.map_err(io::Error::other)??);
    }
    let mut writer = Socket::connect(&plain).await?;
    writer.open(&shared).await?;
    let large = Bytes::from(body(1, 64 << 10));
    let append = |log: &Log| Request::Append {
        log: log.id,
        epoch: Epoch(0),
        pipe: 0,
        id: EntryId([1; 16]),
        body: large.clone(),
        commitment: [1; 32],
    };
    let mut heard = 0_u64;
    let mut listening = JoinSet::new();
    for mut socket in sockets {
        listening.spawn_local(async move {
            let frame = socket.frame().await?;
            match look(&frame) {
                Some(Seen::Entries(1)) => Ok((socket, frame.len())),
                _ => Err(io::Error::other("not the large entry")),
            }
        });
    }
    writer.ask(shared.iter().map(append).collect()).await?;
    drop(writer);
    let mut sockets = Vec::new();
    while let Some(heard_it) = listening.join_next().await {
        let (socket, bytes) = heard_it.map_err(io::Error::other)??;
        heard += u64::from(bytes > 64 << 10);
        sockets.push(socket);
    }
    figures(&json!({"connections": sockets.len(), "heard": heard, "seconds": begun.elapsed().as_secs_f64()}))?;
    // The relay's pings are answered while it is looked at.
    for mut socket in sockets {
        tokio::task::spawn_local(async move { while socket.frame().await.is_ok() {} });
    }
    go().await
}

/// `clients` clients come back at once, each with `logs` logs and `missed` missed entries in each; a log has ten members.
async fn storm(settings: &Settings) -> io::Result<()> {
    const MEMBERS: u64 = 10;
    let target = settings.target()?;
    let (clients, each) = (settings.number("clients")?, settings.number("logs")?);
    let (missed, length) = (settings.number("missed")?, settings.number("body")? as usize);
    let count = clients * each / MEMBERS;
    let logs: Vec<Log> = (0..count).map(|number| Log::new(5, number)).collect();
    create(&target, &logs).await?;
    for own in logs.chunks(1_000) {
        let mut socket = Socket::connect(&target).await?;
        socket.open(own).await?;
        let templates = own.iter().map(|log| Template::append(log, length)).collect::<io::Result<Vec<_>>>()?;
        fill(socket, templates, own.len() as u64 * missed, Instant::now() + Duration::from_secs(60)).await?;
    }
    go().await?;
    let begun = Instant::now();
    let mut coming = JoinSet::new();
    let expected = each * missed;
    let mut slowest = Duration::ZERO;
    let (mut sockets, mut entries) = (Vec::new(), 0);
    for client in 0..clients {
        let target = target.clone();
        // Neighbours share some of their logs and not others.
        let own: Vec<Log> =
            (0..each).map(|at| logs[((client + at * (count / each)) % count) as usize].clone()).collect();
        coming.spawn_local(async move {
            let mut socket = Socket::connect(&target).await?;
            socket.open(&own).await?;
            let following = own.iter().map(|log| log.following(1)).collect();
            let (_, mut got) = socket.ask(vec![Request::Subscribe { logs: following }]).await?;
            while got < expected {
                match look(&socket.frame().await?) {
                    Some(Seen::Entries(entries)) => got += entries,
                    _ => return Err(io::Error::other("not what was missed")),
                }
            }
            Ok::<_, io::Error>((socket, got))
        });
    }
    while let Some(back) = coming.join_next().await {
        let (socket, got) = back.map_err(io::Error::other)??;
        entries += got;
        slowest = begun.elapsed();
        sockets.push(socket);
    }
    figures(&json!({"clients": sockets.len(), "entries": entries, "seconds": slowest.as_secs_f64()}))
}

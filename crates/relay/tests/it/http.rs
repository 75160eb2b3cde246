//! The relay over real sockets: what it refuses and how, what hostile bytes do to it, how it starts, stops and is killed.

mod blobs;
mod faulty;
mod flow;
mod hostile;
mod process;
mod refusals;
mod support;
mod tls;

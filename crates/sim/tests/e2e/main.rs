//! End to end: real `transomd` and `transom` processes, real files, real sockets, and `kill -9`.
//!
//! What the simulator proves over thousands of seeds is shown here once more where nothing is simulated: the system's scheduler, the
//! disk, TLS, and two processes that share nothing. Each test carries the number of its invariant (ARCHITECTURE.md) in its name.
//! Nothing here waits for time to pass but for the moments at which processes are killed, which are drawn from a seed: a test waits for
//! lines and for ends of processes. `E2E_SEED` sets another seed. The same one gives the same plan, though not the same interleaving:
//! that is the simulator's part.
//!
//! The binaries lie beside the test's own (`cargo build --workspace` makes them), or where `TRANSOMD` and `TRANSOM` say.

mod blind;
mod crashes;
mod lookup;
mod processes;
mod quiet;
mod search;

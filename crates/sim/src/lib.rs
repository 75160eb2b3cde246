//! Transom: sim.

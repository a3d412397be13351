//! Tests of the whole ledger through its public face.

mod booking;
mod support;

//! Offloading: client, wire types, link emulator.

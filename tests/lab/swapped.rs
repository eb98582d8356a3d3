//! An address in memory that another thread changes while a call reads it.

use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::Rounds;

/// A `struct sockaddr_in` of 127.0.0.1, with a port that two threads may touch.
#[repr(C)]
pub struct SwappedAddress {
    family: u16,
    port: AtomicU16,
    ip: [u8; 4],
    zero: [u8; 8],
}

impl SwappedAddress {
    /// With this port first.
    pub fn new(port: u16) -> Self {
        let family = libc::AF_INET as u16;
        SwappedAddress { family, port: AtomicU16::new(port.to_be()), ip: [127, 0, 0, 1], zero: [0; 8] }
    }

    /// Writes a port into it.
    pub fn set(&self, port: u16) {
        self.port.store(port.to_be(), Ordering::SeqCst);
    }

    /// Uses it again and again, while another thread writes now one port into it, now the other. `once` says whether both
    /// sides of the race have shown.
    pub fn race(&self, ports: [u16; 2], mut once: impl FnMut(&Self) -> bool) {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for port in ports {
                        self.port.store(port.to_be(), Ordering::Relaxed);
                        std::hint::spin_loop();
                    }
                }
            });
            let rounds = Rounds::begin();
            let mut shown = false;
            while rounds.go_on(shown) {
                shown = once(self);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

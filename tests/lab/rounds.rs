//! How long a program runs a race.

use std::time::{Duration, Instant};

/// The bounded rounds of a race: at least a moment, until both sides have shown, and never for long.
pub struct Rounds {
    begun: Instant,
}

impl Rounds {
    /// Begins now.
    pub fn begin() -> Self {
        Rounds { begun: Instant::now() }
    }

    /// Whether there is another round, once it is known whether both sides of the race have shown.
    pub fn go_on(&self, shown: bool) -> bool {
        let passed = self.begun.elapsed();
        passed < LEAST || (!shown && passed < MOST)
    }
}

const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(6);

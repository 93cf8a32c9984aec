//! Waits for answers, and what is told of them.

use std::time::Duration;

/// How long each of many answers has taken.
#[derive(Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The same as if requests had been sent at this interval whether or not the one before was
    /// answered: a wait longer than that has kept others from being sent, and they would have
    /// waited for the rest of it. Else a server that stops for a while is noticed by one request
    /// of each connection only (coordinated omission).
    pub fn corrected_for(mut self, interval: Duration) -> Self {
        for index in 0..self.0.len() {
            let mut rest = self.0[index];
            while !interval.is_zero() && rest >= interval * 2 {
                rest -= interval;
                self.0.push(rest);
            }
        }
        self
    }

    /// `p50`, `p99` and `max` in seconds, as words for the harness.
    pub fn into_words(mut self) -> String {
        self.0.sort_unstable();
        let [p50, p99, max] = [0.50, 0.99, 1.0].map(|share| self.percentile(share).as_secs_f64());
        format!("p50={p50:.6} p99={p99:.6} max={max:.6}")
    }

    /// The least wait that this share of the answers has not exceeded; they are in order.
    fn percentile(&self, share: f64) -> Duration {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        let index = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Latencies {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(values: impl IntoIterator<Item = u64>) -> Latencies {
        values.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn tells_the_percentiles_of_any_order() {
        let words = milliseconds((1..=200).rev()).into_words();
        assert_eq!(words, "p50=0.100000 p99=0.198000 max=0.200000");
    }

    #[test]
    fn tells_nought_of_nothing() {
        let words = Latencies::default().into_words();
        assert_eq!(words, "p50=0.000000 p99=0.000000 max=0.000000");
    }

    #[test]
    fn a_long_wait_counts_for_those_that_could_not_be_sent() {
        let corrected = milliseconds([10, 10, 45]).corrected_for(Duration::from_millis(10));
        let mut waits = corrected.0;
        waits.sort_unstable();
        assert_eq!(waits, milliseconds([10, 10, 15, 25, 35, 45]).0);
    }
}

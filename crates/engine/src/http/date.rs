//! The `Date` of replies (RFC 9110 §6.6.1), made once a second.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use httpdate::HttpDate;

/// Bytes of an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
const LENGTH: usize = 29;

/// Tells the time as HTTP writes it, and writes it anew only where the second has changed.
#[derive(Clone, Debug)]
pub struct DateClock {
    text: [u8; LENGTH],
    /// When the second ends.
    valid_until: Instant,
}

impl DateClock {
    /// A clock that runs.
    pub fn new(now: Instant) -> DateClock {
        let mut clock = DateClock {
            text: [b' '; LENGTH],
            valid_until: now,
        };
        clock.tell(now);
        clock
    }

    /// The date at this moment, which is now or a moment ago.
    ///
    /// ```
    /// use engine::http::date::DateClock;
    /// use std::time::Instant;
    ///
    /// let mut clock = DateClock::new(Instant::now());
    /// assert!(clock.tell(Instant::now()).ends_with(b" GMT"));
    /// ```
    pub fn tell(&mut self, now: Instant) -> &[u8] {
        if now >= self.valid_until {
            let time = SystemTime::now();
            self.write(time);
            self.valid_until = now + rest_of_second(time);
        }
        &self.text
    }

    fn write(&mut self, time: SystemTime) {
        // The year 9999 is the last that the format has, and the last that HttpDate takes.
        if time < SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800) {
            let mut text = &mut self.text[..];
            // The text always has this length.
            write!(text, "{}", HttpDate::from(time)).ok();
        }
    }
}

fn rest_of_second(time: SystemTime) -> Duration {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = since_epoch.map_or(0, |duration| duration.subsec_nanos());
    Duration::from_secs(1) - Duration::from_nanos(nanoseconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_system() {
        let mut clock = DateClock::new(Instant::now());
        let before = SystemTime::now() - Duration::from_secs(1);
        let later = Instant::now() + Duration::from_secs(1);
        let text = std::str::from_utf8(clock.tell(later)).unwrap();
        let told = httpdate::parse_http_date(text).unwrap();
        assert!(told >= before && told <= SystemTime::now());
    }

    #[test]
    fn it_is_written_once_a_second() {
        let now = Instant::now();
        let mut clock = DateClock::new(now);
        clock.text = *b"whatever was written last, so";
        clock.valid_until = now + Duration::from_millis(10);
        assert!(clock.tell(now).starts_with(b"whatever"));
        assert!(
            clock
                .tell(now + Duration::from_millis(10))
                .ends_with(b" GMT")
        );
        assert!(clock.valid_until <= now + Duration::from_millis(1010));
    }
}

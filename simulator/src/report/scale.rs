//! What numbers on a page mean, how they are told, and where they stand on an axis.

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Milliseconds.
    Time,
    /// Things.
    Count,
    /// A share of everything, 0 to 1.
    Share,
    /// Of memory.
    Octets,
}

const SECOND: f64 = 1000.0;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

const KIBIBYTE: f64 = 1024.0;
const MEBIBYTE: f64 = 1024.0 * KIBIBYTE;
const GIBIBYTE: f64 = 1024.0 * MEBIBYTE;

/// Times that are easy to read, from one to the next less than three times as long.
#[rustfmt::skip]
const ROUND: [f64; 36] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0,
    SECOND, 2.0 * SECOND, 5.0 * SECOND, 10.0 * SECOND, 20.0 * SECOND, 30.0 * SECOND,
    MINUTE, 2.0 * MINUTE, 5.0 * MINUTE, 10.0 * MINUTE, 20.0 * MINUTE, 30.0 * MINUTE,
    HOUR, 2.0 * HOUR, 4.0 * HOUR, 6.0 * HOUR, 12.0 * HOUR,
    DAY, 2.0 * DAY, 5.0 * DAY, 10.0 * DAY, 20.0 * DAY, 50.0 * DAY,
    100.0 * DAY, 200.0 * DAY, 500.0 * DAY, 1000.0 * DAY,
];
/// Those that are ten times apart, more or less.
#[rustfmt::skip]
const COARSE: [f64; 11] = [
    1.0, 10.0, 100.0, SECOND, 10.0 * SECOND, MINUTE, 10.0 * MINUTE, HOUR, 10.0 * HOUR, 4.0 * DAY, 40.0 * DAY,
];
/// Marks on an axis with equal distances at most.
const MARKS: usize = 9;
/// Marks on a logarithmic axis at most.
const MARKS_APART: usize = 12;
/// An axis of times is logarithmic when the longest is so many times the shortest.
const WIDE: f64 = 30.0;

impl Unit {
    /// The number as people write it.
    pub(super) fn tell(self, value: f64) -> String {
        match self {
            Self::Share => format!("{} %", short(value * 100.0)),
            Self::Count => short(value),
            Self::Octets => {
                let (unit, name) = match value {
                    ..KIBIBYTE => (1.0, "B"),
                    ..MEBIBYTE => (KIBIBYTE, "KiB"),
                    ..GIBIBYTE => (MEBIBYTE, "MiB"),
                    _ => (GIBIBYTE, "GiB"),
                };
                format!("{} {name}", short(value / unit))
            }
            Self::Time if value == 0.0 => "0".to_owned(),
            Self::Time => {
                let (unit, name) = match value {
                    ..SECOND => (1.0, "ms"),
                    ..MINUTE => (SECOND, "s"),
                    ..HOUR => (MINUTE, "min"),
                    ..DAY => (HOUR, "h"),
                    _ => (DAY, "d"),
                };
                format!("{} {name}", short(value / unit))
            }
        }
    }

    /// From mark to mark on an axis from 0 to `most`.
    fn step(self, most: f64) -> f64 {
        let fits = |step: &f64| most / step <= real(MARKS as u64 - 1);
        let found = match self {
            Self::Time => ROUND.into_iter().find(fits),
            Self::Share => Some(0.25),
            Self::Octets => (10..60).map(|power| 2_f64.powi(power)).find(fits),
            Self::Count => digits(&[1.0, 2.0, 5.0]).into_iter().find(fits),
        };
        found.unwrap_or(most.max(1.0))
    }
}

/// Milliseconds as people write them.
pub(super) fn time(millis: u64) -> String {
    Unit::Time.tell(real(millis))
}

/// For drawing and for ratios: exact up to 2^53.
pub(super) fn real(number: u64) -> f64 {
    number as f64
}

/// These digits with noughts behind them, in order.
fn digits(digits: &[f64]) -> Vec<f64> {
    let powers = (0..18).map(|power| 10_f64.powi(power));
    powers
        .flat_map(|power| digits.iter().map(move |digit| digit * power))
        .collect()
}

/// Three digits, or all before the point.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// An axis: which numbers stand on it, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub(super) unit: Unit,
    least: f64,
    most: f64,
    is_logarithmic: bool,
}

impl Scale {
    /// From 0 to at least `most`, with equal distances.
    pub(super) fn even(unit: Unit, most: f64) -> Self {
        let step = unit.step(most);
        let most = match unit {
            Unit::Time => most.max(1.0),
            Unit::Count | Unit::Share | Unit::Octets => ((most / step).ceil() * step).max(step),
        };
        Self {
            unit,
            least: 0.0,
            most,
            is_logarithmic: false,
        }
    }

    /// For times from the shortest to the longest, in milliseconds: logarithmic when they are far apart.
    pub(super) fn times(shortest: f64, longest: f64) -> Self {
        // Less than a millisecond is not told apart, and zero stands on no logarithmic axis.
        let shortest = shortest.max(1.0);
        if longest / shortest < WIDE {
            return Self::even(Unit::Time, longest);
        }
        let below = ROUND.into_iter().rev().find(|mark| *mark <= shortest);
        let above = ROUND.into_iter().find(|mark| *mark >= longest);
        Self {
            unit: Unit::Time,
            least: below.unwrap_or(shortest),
            most: above.unwrap_or(longest),
            is_logarithmic: true,
        }
    }

    /// For numbers of things, 1 at least, from power of ten to power of ten.
    pub(super) fn powers(fewest: f64, most: f64) -> Self {
        let power = fewest.max(1.0).log10().floor();
        let above = most.max(1.0).log10().ceil().max(power + 1.0);
        Self {
            unit: Unit::Count,
            least: 10_f64.powf(power),
            most: 10_f64.powf(above),
            is_logarithmic: true,
        }
    }

    pub(super) fn is_logarithmic(&self) -> bool {
        self.is_logarithmic
    }

    /// Where a number stands, 0 at the beginning of the axis and 1 at its end; what is beyond stands there.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.is_logarithmic {
            true => (value.max(self.least) / self.least).ln() / (self.most / self.least).ln(),
            false => (value - self.least) / (self.most - self.least),
        };
        place.clamp(0.0, 1.0)
    }

    /// The numbers that are written at the axis.
    pub(super) fn marks(&self) -> Vec<f64> {
        let within = |mark: &f64| (self.least..=self.most).contains(mark);
        if self.is_logarithmic {
            let (fine, coarse) = match self.unit {
                Unit::Time => (ROUND.to_vec(), COARSE.to_vec()),
                _ => (digits(&[1.0, 2.0, 5.0]), digits(&[1.0])),
            };
            let all: Vec<f64> = fine.into_iter().filter(within).collect();
            return match all.len() {
                ..=MARKS_APART => all,
                _ => coarse.into_iter().filter(within).collect(),
            };
        }
        let step = self.unit.step(self.most);
        let marks = (0..=MARKS as u64).map(|number| real(number) * step);
        marks.filter(within).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_write_them() {
        let told = [0, 7, 250, 1000, 1250, 61_000, 5_400_000, 172_800_000].map(time);
        assert_eq!(
            told,
            ["0", "7 ms", "250 ms", "1 s", "1.25 s", "1.02 min", "1.5 h", "2 d"]
        );
        assert_eq!(Unit::Share.tell(0.25), "25 %");
        assert_eq!(Unit::Count.tell(1200.0), "1200");
        let octets = [0.0, 7.0, 1024.0, 1_572_864.0, 6e11].map(|octets| Unit::Octets.tell(octets));
        assert_eq!(octets, ["0 B", "7 B", "1 KiB", "1.5 MiB", "559 GiB"]);
    }

    #[test]
    fn an_axis_is_logarithmic_when_the_longest_is_far_from_the_shortest() {
        let even = Scale::times(200.0, 900.0);
        assert!(!even.is_logarithmic());
        assert_eq!(even.place(450.0), 0.5);
        let wide = Scale::times(200.0, 190_000.0);
        assert!(wide.is_logarithmic());
        assert_eq!((wide.place(0.0), wide.place(1e9)), (0.0, 1.0));
        assert!(wide.place(2000.0) > 0.3);
    }

    #[test]
    fn an_axis_of_powers_begins_and_ends_at_one() {
        let scale = Scale::powers(40.0, 11_000.0);
        assert!(scale.is_logarithmic());
        let marks = scale.marks();
        assert_eq!((marks.first(), marks.last()), (Some(&10.0), Some(&100_000.0)));
        assert!(
            (scale.place(1000.0) - 0.5).abs() < 1e-9,
            "{}",
            scale.place(1000.0)
        );
        // One number alone has an axis, too.
        assert_eq!(Scale::powers(1.0, 1.0).marks(), [1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn an_axis_has_few_marks_however_long_it_is() {
        for most in [0.0, 1.0, 3.0, 17.0, 999.0, 1e6, 1e9, 1e12] {
            for scale in [
                Scale::even(Unit::Time, most),
                Scale::even(Unit::Count, most),
                Scale::times(0.0, most),
                Scale::even(Unit::Octets, most),
                Scale::powers(most / 100.0, most),
            ] {
                let marks = scale.marks();
                assert!((1..=MARKS_APART).contains(&marks.len()), "{scale:?}: {marks:?}");
                assert!(marks.iter().all(|mark| mark.is_finite()));
            }
        }
    }
}

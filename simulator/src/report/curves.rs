//! The curves of a report: derived from the times of the history, and thinned, so that a page stays small.

use crate::history::{Fate, History, Mail, Sending};

use super::scale::real;

/// Points of a curve, more or less.
pub(super) const POINTS: usize = 500;

/// A curve: its points from left to right.
pub(super) type Points = Vec<(f64, f64)>;

/// The accepted mails, with the time of that.
pub(super) fn accepted(history: &History) -> impl Iterator<Item = (&Mail, u64)> {
    history.mails.iter().filter_map(|mail| match mail.sending {
        Sending::Accepted { at, .. } => Some((mail, at)),
        Sending::Not { .. } | Sending::NotDue => None,
    })
}

/// From accepted to a point of the walk: milliseconds, in order, and how many deliveries there are in all.
pub(super) fn latencies(history: &History, at: impl Fn(&Fate) -> Option<u64>) -> (Vec<u64>, usize) {
    let mut all = 0;
    let mut found = Vec::new();
    for (mail, accepted) in accepted(history) {
        all += mail.fates.len();
        let times = mail.fates.iter().filter_map(&at);
        found.extend(times.map(|at| at.saturating_sub(accepted)));
    }
    found.sort_unstable();
    (found, all)
}

/// Which share of `all` took at most so long: (milliseconds, share), from times in order. It ends below 1 when some
/// never got there.
pub(super) fn distribution(sorted: &[u64], all: usize) -> Points {
    let all = real(all.max(1) as u64);
    let mut points: Points = Vec::new();
    for (index, millis) in sorted.iter().enumerate() {
        let point = (real(*millis), real(index as u64 + 1) / all);
        match points.last_mut() {
            Some(last) if last.0 == point.0 => *last = point,
            _ => points.push(point),
        }
    }
    points
}

/// How many mails were accepted and not yet settled for all their recipients: (milliseconds, mails).
pub(super) fn under_way(history: &History) -> Points {
    let mut steps: Vec<(u64, i64)> = Vec::new();
    for (mail, accepted) in accepted(history) {
        steps.push((accepted, 1));
        let settled: Option<Vec<u64>> = mail.fates.iter().map(Fate::settled_at).collect();
        if let Some(last) = settled.and_then(|times| times.into_iter().max()) {
            steps.push((last.max(accepted), -1));
        }
    }
    steps.sort_unstable();
    let mut points: Points = vec![(0.0, 0.0)];
    let mut depth = 0_i64;
    for (at, step) in steps {
        depth += step;
        let point = (real(at), real(depth.unsigned_abs()));
        match points.last_mut() {
            Some(last) if last.0 == point.0 => *last = point,
            _ => points.push(point),
        }
    }
    points
}

/// About [`POINTS`] of the points: of each stretch the lowest and the highest, so that no peak is lost; and both ends.
pub(super) fn thin(points: Points) -> Points {
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
        return points;
    };
    if points.len() <= POINTS {
        return points;
    }
    let mut kept = vec![first];
    for stretch in points.chunks(points.len().div_ceil(POINTS / 2)) {
        let mut places: Vec<usize> = (0..stretch.len()).collect();
        places.sort_by(|a, b| stretch[*a].1.total_cmp(&stretch[*b].1));
        let mut ends: Vec<usize> = places.first().into_iter().chain(places.last()).copied().collect();
        ends.sort_unstable();
        kept.extend(ends.into_iter().map(|place| stretch[place]));
    }
    kept.push(last);
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_rises_once_for_equal_times_and_ends_at_the_share_that_got_there() {
        let points = distribution(&[3, 5, 5, 9], 5);
        assert_eq!(points, [(3.0, 0.2), (5.0, 0.6), (9.0, 0.8)]);
        assert!(distribution(&[], 0).is_empty());
    }

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_ends_and_its_peak() {
        let mut points: Points = (0..100_000)
            .map(|at| (f64::from(at), f64::from(at % 7)))
            .collect();
        points[54_321].1 = 1000.0;
        let thinned = thin(points.clone());
        assert!(thinned.len() <= POINTS + 2, "{}", thinned.len());
        assert_eq!((thinned.first(), thinned.last()), (points.first(), points.last()));
        assert!(thinned.contains(&(54_321.0, 1000.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_short_curve_stays_as_it_is() {
        assert_eq!(thin(vec![(1.0, 2.0)]), [(1.0, 2.0)]);
        assert!(thin(Vec::new()).is_empty());
    }
}

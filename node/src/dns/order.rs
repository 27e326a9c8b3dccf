//! The order in which records of one set are used.

use super::{Mx, Srv};

/// RFC 2782: by priority; among equals at random, each as often first as its weight says.
pub(super) fn services(records: &mut [Srv]) {
    let mut keyed: Vec<(u16, f64, Srv)> = records
        .iter()
        .map(|srv| {
            // An exponential race: the one of double weight wins twice as often; weight 0 hardly ever.
            let weight = if srv.weight == 0 {
                0.01
            } else {
                f64::from(srv.weight)
            };
            let arrival = -(1.0 - rand::random::<f64>()).ln() / weight;
            (srv.priority, arrival, srv.clone())
        })
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    for (place, (_, _, srv)) in records.iter_mut().zip(keyed) {
        *place = srv;
    }
}

/// RFC 5321 §5.1: by preference; among equals at random, to spread the load.
pub(super) fn exchangers(records: &mut [Mx]) {
    let mut keyed: Vec<(u16, u64, Mx)> = records
        .iter()
        .map(|mx| (mx.preference, rand::random(), mx.clone()))
        .collect();
    keyed.sort_by_key(|(preference, chance, _)| (*preference, *chance));
    for (place, (_, _, mx)) in records.iter_mut().zip(keyed) {
        *place = mx;
    }
}

//! Batches, answers and results, by other hands and by attackers.
#![allow(clippy::unwrap_used)]

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    batches: Vec<Written>,
    batches_refused: Vec<Refused>,
    answers: Vec<String>,
    answers_refused: Vec<String>,
    lists: Vec<List>,
    lists_refused: Vec<List>,
    outcomes: Vec<String>,
    outcomes_refused: Vec<String>,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    parcels: Vec<Told>,
    octets: String,
}

#[derive(Deserialize)]
struct Told {
    token: String,
    message: String,
}

#[derive(Deserialize)]
struct Refused {
    name: String,
    octets: String,
    error: String,
}

#[derive(Deserialize)]
struct List {
    count: usize,
    octets: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/channel.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn parcel(token: usize, message: usize) -> Parcel {
    Parcel {
        token: "t".repeat(token),
        message: vec![b'm'; message],
    }
}

#[test]
fn batches_of_other_hands_are_read_and_written_as_the_same_octets() {
    for vector in vectors().batches {
        let parcels = vector.parcels.into_iter().map(|told| Parcel {
            token: told.token,
            message: told.message.into_bytes(),
        });
        let batch = Batch::new(parcels.collect()).unwrap();
        assert_eq!(
            HEXLOWER.encode(&batch.to_bytes()),
            vector.octets,
            "{}",
            vector.name
        );
        assert_eq!(Batch::parse(&hex(&vector.octets)), Ok(batch), "{}", vector.name);
    }
}

#[test]
fn what_is_no_batch_is_refused_with_its_reason() {
    for vector in vectors().batches_refused {
        let error = Batch::parse(&hex(&vector.octets)).expect_err(&vector.name);
        assert_eq!(format!("{error:?}"), vector.error, "{}", vector.name);
    }
}

#[test]
fn a_batch_is_bounded_in_count_in_each_message_and_in_all() {
    let fits =
        |parcels: Vec<Parcel>| Batch::new(parcels).map(|batch| Batch::parse(&batch.to_bytes()) == Ok(batch));
    assert_eq!(Batch::new(Vec::new()), Err(ChannelError::Empty));
    assert_eq!(fits(vec![parcel(10, 10); limits::BATCH]), Ok(true));
    assert_eq!(
        fits(vec![parcel(10, 10); limits::BATCH + 1]),
        Err(ChannelError::TooLarge)
    );
    assert_eq!(fits(vec![parcel(limits::TOKEN, limits::PLACEHOLDER)]), Ok(true));
    assert_eq!(
        fits(vec![parcel(limits::TOKEN + 1, 1)]),
        Err(ChannelError::TooLarge)
    );
    assert_eq!(
        fits(vec![parcel(1, limits::PLACEHOLDER + 1)]),
        Err(ChannelError::TooLarge)
    );
    let half = limits::BATCH_SIZE / 2;
    let full = |less: usize| vec![parcel(1000, half - 1000 - 32 - less); 2];
    assert_eq!(fits(full(0)), Ok(true));
    let over = [full(0), vec![parcel(0, 0)]].concat();
    assert_eq!(fits(over), Err(ChannelError::TooLarge));
    assert_eq!(
        Batch::parse(&vec![0x80; limits::BATCH_SIZE + 1]),
        Err(ChannelError::TooLarge)
    );
    assert_eq!(ChannelError::TooLarge.fault(), Fault::TooLarge);
}

#[test]
fn a_list_that_claims_to_be_endless_takes_no_memory() {
    for head in [0x9b_u8, 0xbb, 0x5b, 0x7b] {
        let octets = [&[head], u64::MAX.to_be_bytes().as_slice()].concat();
        assert_eq!(Batch::parse(&octets), Err(ChannelError::Malformed));
    }
}

#[test]
fn answers_are_read_back_and_nothing_else_is_one() {
    for text in vectors().answers {
        let answer = Answer::parse(text.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(answer.to_bytes()).unwrap(), text);
    }
    for text in vectors().answers_refused {
        assert_eq!(
            Answer::parse(text.as_bytes()),
            Err(ChannelError::Answer),
            "{text}"
        );
    }
    let receipt = |size: usize| Answer::Receipt("r".repeat(size)).to_bytes();
    assert!(Answer::parse(&receipt(limits::TOKEN_CHAIN)).is_ok());
    assert_eq!(
        Answer::parse(&receipt(limits::TOKEN_CHAIN + 1)),
        Err(ChannelError::Answer)
    );
    let padded = [b"{\"later\":60}".as_slice(), &vec![b' '; limits::ANSWER]].concat();
    assert_eq!(
        Answer::parse(&padded),
        Err(ChannelError::Answer),
        "larger than any answer"
    );
}

#[test]
fn a_batch_has_one_answer_for_each_message() {
    for list in vectors().lists {
        let answers = Answer::parse_list(list.octets.as_bytes(), list.count).unwrap();
        assert_eq!(
            String::from_utf8(Answer::list_to_bytes(&answers)).unwrap(),
            list.octets
        );
    }
    for list in vectors().lists_refused {
        let read = Answer::parse_list(list.octets.as_bytes(), list.count);
        assert_eq!(read, Err(ChannelError::Answer), "{}", list.octets);
    }
    let full = vec![Answer::Receipt("r".repeat(limits::TOKEN_CHAIN)); limits::BATCH];
    let octets = Answer::list_to_bytes(&full);
    assert_eq!(Answer::parse_list(&octets, limits::BATCH), Ok(full));
    let padded = [b"[{\"later\":60}]".as_slice(), &vec![b' '; 2 * limits::ANSWER]].concat();
    assert_eq!(Answer::parse_list(&padded, 1), Err(ChannelError::Answer));
}

#[test]
fn results_have_one_form() {
    for text in vectors().outcomes {
        assert_eq!(Outcome::parse(&text).unwrap().to_string(), text);
    }
    for text in vectors().outcomes_refused {
        assert_eq!(Outcome::parse(&text), None, "{text:?}");
    }
}

#[test]
fn a_fault_comes_to_a_result_and_to_an_answer_that_can_be_read() {
    let faults = [
        Fault::Malformed,
        Fault::TooLarge,
        Fault::Unauthenticated,
        Fault::NotYetProved,
        Fault::Refused,
        Fault::NoSuchUser,
        Fault::NotFound,
        Fault::OverQuota,
        Fault::TryLater(Duration::ZERO),
        Fault::TryLater(Duration::from_secs(90)),
        Fault::TryLater(Duration::MAX),
        Fault::Local,
    ];
    for fault in faults {
        let outcome = Outcome::of(fault);
        assert_eq!(
            matches!(outcome, Outcome::Later(_)),
            fault.is_temporary(),
            "{fault:?}"
        );
        assert_eq!(Outcome::parse(&outcome.to_string()), Some(outcome), "{fault:?}");
        let answer = Answer::of(fault);
        assert_eq!(
            matches!(answer, Answer::Later(_)),
            fault.is_temporary(),
            "{fault:?}"
        );
        assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer), "{fault:?}");
    }
    assert_eq!(Outcome::of(Fault::NoSuchUser).to_string(), "refused 5.1.1");
    assert_eq!(Outcome::of(Fault::OverQuota).to_string(), "refused 5.2.2");
    assert_eq!(
        Outcome::of(Fault::TryLater(Duration::MAX)),
        Outcome::Later(Outcome::LONGEST_WAIT)
    );
    assert_eq!(StatusCode::new(1000, 0), None);
    assert_eq!(StatusCode::new(999, 999).map(StatusCode::parts), Some((999, 999)));
}

#[test]
fn reports_come_from_the_postmaster_of_the_domain() {
    let bar = Domain::parse("bar.com").unwrap();
    assert_eq!(reporter(&bar).to_string(), "postmaster@bar.com");
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        parcels in proptest::collection::vec(("[a-zA-Z0-9_.-]{0,60}", proptest::collection::vec(any::<u8>(), 0..80)), 1..6),
    ) {
        let parcels = parcels.into_iter().map(|(token, message)| Parcel { token, message });
        let batch = Batch::new(parcels.collect()).unwrap();
        prop_assert_eq!(Batch::parse(&batch.to_bytes()), Ok(batch));
    }

    #[test]
    fn a_batch_with_a_changed_octet_is_refused_or_is_written_as_it_was_read(
        at in any::<Index>(), octet in any::<u8>(), more in any::<bool>(),
    ) {
        let mut octets = hex(&vectors().batches.get(1).unwrap().octets);
        let at = at.index(octets.len());
        if more { octets.insert(at, octet) } else { octets[at] = octet }
        if let Ok(batch) = Batch::parse(&octets) {
            prop_assert_eq!(batch.to_bytes(), octets);
        }
    }

    #[test]
    fn octets_by_chance_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(Batch::parse(&octets));
        drop(Answer::parse(&octets));
        drop(Answer::parse_list(&octets, 1));
    }
}

#[test]
fn the_specification_shows_the_vectors() {
    let text = include_str!("../../spec/channel.md");
    let shown = crate::dag::tests::examples(text);
    let batch = vectors().batches.into_iter().next().unwrap();
    assert_eq!(shown, [batch.octets]);
    for bound in ["4,194,304", "8,388,608", "16,448", "86,400", "8,192"] {
        assert!(text.contains(bound), "{bound}");
    }
    let said = (
        limits::PLACEHOLDER,
        limits::BATCH_SIZE,
        limits::ANSWER,
        limits::LONGEST_WAIT,
        limits::TOKEN,
    );
    assert_eq!(said, (4_194_304, 8_388_608, 16_448, 86_400, 8_192));
}

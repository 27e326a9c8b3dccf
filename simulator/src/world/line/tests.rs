#![allow(clippy::unwrap_used)]
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn ends(quality: Quality) -> (Stream, Stream, Breaker, Arc<Line>) {
    let (there, back) = (Line::new(quality), Line::new(quality));
    let (near, far, breaker) = stream(&there, &back);
    (near, far, breaker, there)
}

const SLOW: Quality = Quality {
    latency: Duration::from_millis(100),
    speed: Some(1_000_000),
};

#[tokio::test(start_paused = true)]
async fn octets_come_in_order_after_the_latency_and_at_the_speed_of_the_line() {
    let (mut near, mut far, _breaker, _line) = ends(SLOW);
    let begun = Instant::now();
    let said: Vec<u8> = (0..500_000_u32).map(|n| n as u8).collect();
    let expected = said.clone();
    let sent = tokio::spawn(async move {
        near.write_all(&said).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, expected);
    assert!(
        (600..=603).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    drop(sent.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_woken_when_octets_arrive_and_not_before() {
    let (mut near, mut far, _breaker, _line) = ends(SLOW);
    let looks = Arc::new(Mutex::new(0));
    let looked = looks.clone();
    let reader = tokio::spawn(async move {
        let mut buffer = [0; 8];
        std::future::poll_fn(|context| {
            *looked.lock().unwrap() += 1;
            Pin::new(&mut far).poll_read(context, &mut ReadBuf::new(&mut buffer))
        })
        .await
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    for word in [b"one", b"two"] {
        near.write_all(word).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*looks.lock().unwrap(), 1, "nothing has arrived yet");
    reader.await.unwrap().unwrap();
    assert_eq!(*looks.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_streams_share_one_line() {
    let (there, back) = (Line::new(SLOW), Line::new(SLOW));
    let begun = Instant::now();
    let streams = [stream(&there, &back), stream(&there, &back)];
    let all = streams.into_iter().map(|(mut near, mut far, _)| async move {
        near.write_all(&[7; 250_000]).await.unwrap();
        drop(near);
        far.read_to_end(&mut Vec::new()).await.unwrap();
    });
    for one in all.map(tokio::spawn).collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert!(
        (600..=603).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_writer_waits_for_a_reader_who_does_not_read() {
    let (mut near, mut far, _breaker, _line) = ends(Quality::LOCAL);
    near.write_all(&vec![1; WINDOW]).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(60), near.write_all(b"x")).await;
    assert!(more.is_err());
    far.read_exact(&mut [0; 10]).await.unwrap();
    near.write_all(b"x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_comes_out_of_a_line_that_is_cut_until_it_is_mended() {
    let (mut near, mut far, _breaker, line) = ends(SLOW);
    line.cut();
    near.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    let early = tokio::time::timeout(Duration::from_secs(60), far.read_exact(&mut word)).await;
    assert!(early.is_err());
    line.mend();
    far.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
}

#[tokio::test(start_paused = true)]
async fn both_ends_of_a_broken_stream_are_told_and_so_is_who_writes_to_nobody() {
    let (mut near, mut far, breaker, _line) = ends(SLOW);
    breaker.break_off();
    let read = far.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(read.kind(), io::ErrorKind::ConnectionReset);
    assert!(near.write_all(b"x").await.is_err());
    let (mut near, far, _breaker, _line) = ends(SLOW);
    drop(far);
    assert!(near.write_all(b"x").await.is_err());
}

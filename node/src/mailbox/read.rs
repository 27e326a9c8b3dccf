//! Step 9, read: a user reads a resource that they hold, whole or in part. Nothing changes by it.
//!
//! What always holds: whatever the octets are, a browser neither runs nor guesses them (row M07).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cargomail_protocol::address::Address;
use cargomail_protocol::dag::{Step, Walk};
use cargomail_protocol::share::parse_root;
use cid::Cid;
use futures::stream::{self, Stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Mailbox, MailboxError};
use crate::store::BlockStore;

/// Which octets are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Whole,
    Range(Range<u64>),
    /// None that there are.
    Outside,
}

impl Mailbox {
    /// Answers `GET /api/v1/resources/{cid}`.
    pub(super) async fn read(
        &self,
        caller: &Address,
        cid: &str,
        headers: &HeaderMap,
    ) -> Result<Response, MailboxError> {
        let cid = parse_root(cid).map_err(|_| MailboxError::Missing)?;
        let size = self.holdings.size(caller, &cid).await?;
        let size = size.ok_or(MailboxError::Missing)?;
        let tag = format!("\"{cid}\"");
        let part = asked(headers, &tag, size);
        let (status, range) = match part {
            Part::Whole => (StatusCode::OK, 0..size),
            Part::Range(range) => (StatusCode::PARTIAL_CONTENT, range),
            Part::Outside => {
                let content = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content).into_response());
            }
        };
        let mut response = Response::new(self.octets(cid, size, range.clone())?);
        *response.status_mut() = status;
        dress(response.headers_mut(), &tag, range.end - range.start);
        if status == StatusCode::PARTIAL_CONTENT {
            let content = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            insert(response.headers_mut(), header::CONTENT_RANGE, &content);
        }
        Ok(response)
    }

    fn octets(&self, cid: Cid, size: u64, range: Range<u64>) -> Result<Body, MailboxError> {
        let walk = Walk::range(cid, size, range).map_err(|error| {
            tracing::error!(%cid, %error, "a holding has a size that the resource cannot have");
            MailboxError::Missing
        })?;
        Ok(Body::from_stream(octets(self.needs.blocks.clone(), walk)))
    }
}

/// The octets of a resource, a leaf at a time.
fn octets(blocks: Arc<dyn BlockStore>, walk: Walk) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((blocks, walk), async |(blocks, mut walk)| {
        while let Some(next) = walk.next() {
            let broken = |why: &dyn std::fmt::Display| {
                tracing::error!(cid = %next.cid, %why, "a block of a held resource cannot be read");
                io::Error::other("the resource cannot be read")
            };
            let block = blocks.get(&next.cid).await.map_err(|error| broken(&error))?;
            let block = block.ok_or_else(|| broken(&"it is not here"))?;
            match walk.trust(&block).map_err(|error| broken(&error))? {
                Step::Leaf { content, .. } if !content.is_empty() => {
                    return Ok(Some((content, (blocks, walk))));
                }
                Step::Leaf { .. } | Step::Node => {}
            }
        }
        Ok(None)
    })
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    let value = HeaderValue::from_str(value).expect("numbers and CIDs are fit for a header");
    headers.insert(name, value);
}

fn dress(headers: &mut HeaderMap, tag: &str, length: u64) {
    insert(headers, header::CONTENT_LENGTH, &length.to_string());
    insert(headers, header::ETAG, tag);
    for (name, value) in [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Reads `Range` (RFC 9110 §14.2). What is not one range of octets, or is meant for another resource, is ignored.
fn asked(headers: &HeaderMap, tag: &str, size: u64) -> Part {
    let same = headers
        .get(header::IF_RANGE)
        .is_none_or(|wanted| wanted.as_bytes() == tag.as_bytes());
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.trim().split_once('-'));
    let Some((first, last)) = range.filter(|_| same) else {
        return Part::Whole;
    };
    let (from, to) = match (first, last) {
        ("", last) => match number(last) {
            Some(count) => (size.saturating_sub(count), size),
            None => return Part::Whole,
        },
        (first, "") => match number(first) {
            Some(from) => (from, size),
            None => return Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(from), Some(to)) if from <= to => (from, to.saturating_add(1).min(size)),
            _ => return Part::Whole,
        },
    };
    if from < to {
        Part::Range(from..to)
    } else {
        Part::Outside
    }
}

/// Digits only, and not too many of them.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn asks(range: &'static str, part: Part) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static(range));
        assert_eq!(asked(&headers, "\"x\"", 100), part, "{range}");
    }

    #[test]
    fn h06_a_range_is_read_as_the_standard_says_and_anything_else_is_no_range() {
        asks("bytes=0-0", Part::Range(0..1));
        asks("bytes=10-19", Part::Range(10..20));
        asks("bytes=10-", Part::Range(10..100));
        asks("bytes=10-1000", Part::Range(10..100));
        asks("bytes=99-18446744073709551615", Part::Range(99..100));
        asks("bytes=-30", Part::Range(70..100));
        asks("bytes=-1000", Part::Range(0..100));
        asks("bytes=100-", Part::Outside);
        asks("bytes=100-200", Part::Outside);
        asks("bytes=-0", Part::Outside);
        for other in [
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=1-2,4-5",
            "bytes=+1-2",
            "bytes=1-99999999999999999999",
            "octets=1-2",
        ] {
            asks(other, Part::Whole);
        }
    }

    #[test]
    fn a_range_of_another_state_of_the_resource_is_ignored() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"y\""));
        assert_eq!(asked(&headers, "\"x\"", 100), Part::Whole);
        assert_eq!(asked(&headers, "\"y\"", 100), Part::Range(1..3));
    }
}

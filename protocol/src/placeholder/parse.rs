//! Reading a placeholder, leniently where the specification lists it, and refusing what is ambiguous.

use super::encode::ACCESS_TYPE;
use super::header::{HeaderError, Headers, head_and_body};
use super::model::{Category, CategoryError, Invalid, Origin, Placeholder, check_fields};
use super::multipart::{is_boundary, scan};
use super::parameter::Parameterised;
use super::part::{ContentId, Description, ONCE, Part, ResourceRef, is_media_type};
use super::structure::{Structure, StructureError};
use super::{BCC, CATEGORY, CONTENT_ID, DESTINATION, MIME, ORIGIN, STRUCTURE, is_ours, legacy, surgery};
use crate::address::{Locator, NameError};
use crate::limits;
use crate::timestamp::Timestamp;

/// Why a message that claims to be a placeholder is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Larger than [`crate::limits::PLACEHOLDER`].
    #[error("the placeholder is larger than {} octets", crate::limits::PLACEHOLDER)]
    TooLarge,
    /// More parts than [`crate::limits::RESOURCES`].
    #[error("the placeholder has more than {} parts", crate::limits::RESOURCES)]
    TooManyParts,
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The header can be read and is not a placeholder's.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A locator is none.
    #[error("{field}: {error}")]
    Locator {
        /// The field.
        field: &'static str,
        /// What is wrong in it.
        error: NameError,
    },
    /// The category is none.
    #[error(transparent)]
    Category(#[from] CategoryError),
    /// The expiry is not a date.
    #[error("{0:?} is not an expiry")]
    Expiry(String),
    /// The structure is ambiguous.
    #[error(transparent)]
    Structure(#[from] StructureError),
    /// Parameters that break RFC 2045 or stand twice (row M02).
    #[error("{field}: the parameters are malformed or stand twice")]
    Parameters {
        /// The field.
        field: &'static str,
    },
    /// The body is not a flat multipart/mixed with its close delimiter.
    #[error("the body is not a flat multipart/mixed")]
    NotMixed,
    /// Lines that one reader takes for the end of a part and another does not (rows M01, M02).
    #[error("the boundary is ambiguous")]
    Boundary,
    /// An external-body part lacks something or says it wrongly; parts count from 1.
    #[error("part {part}: {what}")]
    Part {
        /// Which part, counted from 1.
        part: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The JSON form cannot be read.
    #[error("the JSON form is malformed")]
    Json,
}

/// Whether a message claims to be a placeholder: whether its header has the origin field. Cheap, never fails.
#[must_use]
pub fn is_placeholder(message: &[u8]) -> bool {
    surgery::has(message, ORIGIN)
}

pub(super) fn parse(message: &[u8]) -> Result<Option<Placeholder>, Broken> {
    if !is_placeholder(message) {
        // no text of JSON has the field on a line of its own, but a field may be called `{"`
        return if legacy::is_json(message) {
            legacy::parse_json(message)
        } else {
            Ok(None)
        };
    }
    if message.len() > limits::PLACEHOLDER {
        return Err(Broken::TooLarge);
    }
    let (head, body) = head_and_body(message);
    let fields = Headers::read(head)?;
    let boundary = boundary(&fields)?;
    read(fields, parts(body, &boundary)?).map(Some)
}

/// The external-body parts of a placeholder.
#[derive(Default)]
pub(super) struct Found {
    /// Those that can be had.
    parts: Vec<Part>,
    /// For each of them all, in order, whether it is known.
    known: Vec<bool>,
    /// The access types of the others.
    ignored: Vec<String>,
}

impl Found {
    pub(super) fn take(&mut self, reading: Reading) {
        match reading {
            Reading::Text => {}
            Reading::Known(part) => {
                self.parts.push(*part);
                self.known.push(true);
            }
            Reading::Unknown(access) => {
                self.ignored.push(access);
                self.known.push(false);
            }
        }
    }

    /// How many there are, known or not.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }
}

/// What both forms have in common.
pub(super) fn read(mut fields: Headers, found: Found) -> Result<Placeholder, Broken> {
    let Found {
        parts,
        known,
        ignored,
    } = found;
    check_fields(&fields)?;
    if let Some(name) = fields.duplicate(&[ORIGIN, DESTINATION, CATEGORY, STRUCTURE]) {
        return Err(Invalid::Duplicate(name.to_owned()).into());
    }
    let value = |name| fields.first(name).map(|field| field.unfolded());
    let origin = origin(&value(ORIGIN).ok_or(Invalid::Missing(ORIGIN))?)?;
    let category = Category::parse(&value(CATEGORY).ok_or(Invalid::Missing(CATEGORY))?)?;
    let destination = value(DESTINATION)
        .map(|text| {
            Locator::parse(&text).map_err(|error| Broken::Locator {
                field: DESTINATION,
                error,
            })
        })
        .transpose()?;
    let structure = match value(STRUCTURE) {
        None => Structure::flat(parts.len()),
        Some(text) => {
            let structure: Structure = text.parse()?;
            if structure.parts() != known.len() {
                return Err(StructureError::Count {
                    found: structure.parts(),
                    parts: known.len(),
                }
                .into());
            }
            structure.only(&known)
        }
    };
    fields.retain(|field| !is_ours(field) && !MIME.iter().chain(&BCC).any(|name| field.is(name)));
    let mut placeholder = Placeholder::new(origin, category, fields, structure, parts)?;
    placeholder.ignored = ignored;
    Ok(placeholder.with_destination(destination))
}

/// `mailbox.hospital.com; expiration="Fri, 04 Dec 2026 13:05:01 +0000"`.
fn origin(text: &str) -> Result<Origin, Broken> {
    let value = Parameterised::read(text).ok_or(Broken::Parameters { field: ORIGIN })?;
    let locator = Locator::parse(&value.value).map_err(|error| Broken::Locator { field: ORIGIN, error })?;
    if value.is_disguised("expiration") {
        return Err(Broken::Parameters { field: ORIGIN });
    }
    let expires = value
        .plain("expiration")
        .map(|date| lenient_date(date).ok_or_else(|| Broken::Expiry(date.chars().take(64).collect())))
        .transpose()?;
    Ok(Origin { locator, expires })
}

/// A date-time of RFC 5322, with any name of a day and with comments: `Sa, 4 Mar 2023 14:05:01 +0100 (CEST)`.
pub(super) fn lenient_date(text: &str) -> Option<Timestamp> {
    let bare = text.split('(').next().unwrap_or_default();
    let date = bare.split_once(',').map_or(bare, |(_, date)| date).trim();
    Timestamp::parse_rfc5322(date).ok()
}

fn boundary(fields: &Headers) -> Result<String, Broken> {
    if let Some(name) = fields.duplicate(&ONCE) {
        return Err(Invalid::Duplicate(name.to_owned()).into());
    }
    let field = "Content-Type";
    let value = fields.first(field).ok_or(Broken::NotMixed)?.unfolded();
    let value = Parameterised::read(&value).ok_or(Broken::Parameters { field })?;
    if !value.value.eq_ignore_ascii_case("multipart/mixed") || !is_unencoded(fields) {
        return Err(Broken::NotMixed);
    }
    if value.is_disguised("boundary") {
        return Err(Broken::Parameters { field });
    }
    let boundary = value.plain("boundary").filter(|boundary| is_boundary(boundary));
    boundary.map(str::to_owned).ok_or(Broken::Boundary)
}

fn is_unencoded(fields: &Headers) -> bool {
    let encoding = fields
        .first("Content-Transfer-Encoding")
        .map(|field| field.unfolded().to_ascii_lowercase());
    matches!(encoding.as_deref(), None | Some("7bit" | "8bit" | "binary"))
}

fn parts(body: &[u8], boundary: &str) -> Result<Found, Broken> {
    // the explanation, and a footer that a mailing list may have added
    let limit = limits::RESOURCES + 8;
    let scanned = scan(body, boundary, limit);
    if scanned.parts.len() > limit {
        return Err(Broken::TooManyParts);
    }
    if scanned.doubtful || !scanned.closed {
        return Err(Broken::Boundary);
    }
    let mut found = Found::default();
    for range in scanned.parts {
        found.take(part(body.get(range).unwrap_or_default(), found.count() + 1)?);
    }
    if found.count() > limits::RESOURCES {
        return Err(Broken::TooManyParts);
    }
    Ok(found)
}

/// What one part of a placeholder is.
pub(super) enum Reading {
    /// Something for people: the explanation, a footer.
    Text,
    /// A part whose access type nobody here knows.
    Unknown(String),
    Known(Box<Part>),
}

fn part(entity: &[u8], number: usize) -> Result<Reading, Broken> {
    let (head, phantom) = head_and_body(entity);
    let outer = Headers::read(head)?;
    if let Some(name) = outer.duplicate(&ONCE) {
        return Err(Invalid::Duplicate(name.to_owned()).into());
    }
    let Some(content_type) = outer.first("Content-Type") else {
        return Ok(Reading::Text);
    };
    let field = "Content-Type";
    let value = Parameterised::read(&content_type.unfolded()).ok_or(Broken::Parameters { field })?;
    if value.value.to_ascii_lowercase().starts_with("multipart/") {
        return Err(Broken::NotMixed);
    }
    if !value.value.eq_ignore_ascii_case("message/external-body") {
        return Ok(Reading::Text);
    }
    if !is_unencoded(&outer) {
        return Err(Broken::Part {
            part: number,
            what: "an external-body part has a transfer encoding",
        });
    }
    let (phantom, _) = head_and_body(phantom);
    external(&value, Headers::read(phantom)?, number)
}

/// An external-body part by the parameters of its Content-Type and its phantom header. Parts count from 1.
pub(super) fn external(value: &Parameterised, phantom: Headers, number: usize) -> Result<Reading, Broken> {
    let broken = |what| Broken::Part { part: number, what };
    if ["access-type", "hash-algorithm", "size", "sha256"]
        .iter()
        .any(|name| value.is_disguised(name))
    {
        return Err(Broken::Parameters {
            field: "Content-Type",
        });
    }
    let access = value
        .plain("access-type")
        .ok_or_else(|| broken("it names no access type"))?
        .to_ascii_lowercase();
    let hash = value
        .plain("hash-algorithm")
        .unwrap_or_default()
        .to_ascii_lowercase();
    if access.strip_prefix("x-").unwrap_or(&access) != ACCESS_TYPE || hash != "sha256" {
        return Ok(Reading::Unknown(access.chars().take(64).collect()));
    }
    if let Some(name) = phantom
        .duplicate(&ONCE)
        .or_else(|| phantom.duplicate(&[CONTENT_ID]))
    {
        return Err(Invalid::Duplicate(name.to_owned()).into());
    }
    if let Some(field) = phantom.first("Content-Type") {
        let real = Parameterised::read(&field.unfolded()).filter(is_media_type);
        real.ok_or(Broken::Parameters {
            field: "Content-Type",
        })?;
    }
    if !is_unencoded(&phantom) {
        return Err(broken("its phantom header has a transfer encoding"));
    }
    let size = value
        .plain("size")
        .and_then(legacy::number)
        .filter(|size| *size <= limits::RESOURCE);
    let size = size.ok_or_else(|| broken("its size is missing or is none"))?;
    let id = phantom.first("Content-ID").map(|field| field.unfolded());
    let (cid, digest) = id
        .as_deref()
        .and_then(legacy::reference)
        .ok_or_else(|| broken("its Content-ID is missing or names no resource"))?;
    let stated = match value.plain("sha256") {
        None => None,
        Some(text) => Some(legacy::hex_digest(text).ok_or_else(|| broken("its sha256 is no digest"))?),
    };
    if let (Some(stated), Some(digest)) = (stated, digest)
        && stated != digest
    {
        return Err(broken("its sha256 and its Content-ID disagree"));
    }
    let content_id = own_id(&phantom).ok_or_else(|| broken("its own Content-ID is malformed"))?;
    let mut fields = phantom;
    fields.retain(|field| {
        !is_ours(field)
            && !["Content-ID", "Content-Transfer-Encoding"]
                .iter()
                .any(|name| field.is(name))
    });
    let resource = ResourceRef {
        cid,
        size,
        sha256: stated.or(digest),
    };
    Ok(Reading::Known(Box::new(Part {
        resource,
        description: Description::read(fields, content_id),
    })))
}

fn own_id(phantom: &Headers) -> Option<ContentId> {
    let Some(field) = phantom.first(CONTENT_ID) else {
        return Some(ContentId::Cid);
    };
    let value = field.unfolded();
    if value.eq_ignore_ascii_case("none") {
        return Some(ContentId::Absent);
    }
    let id = value.strip_prefix('<')?.strip_suffix('>')?;
    Some(ContentId::Own(id.to_owned())).filter(ContentId::is_valid)
}

//! Taking an ordinary message apart: its header, its tree, and each body as decoded octets.
//!
//! What is not understood is kept, not guessed at: a multipart of another kind than mixed, alternative and related
//! (signed ones for instance), or whose delimiters readers may disagree on, becomes one body, octet for octet. What
//! goes: the preamble and epilogue of a multipart, and the fields of a multipart other than its type.

use std::ops::Range;

use super::header::{HeaderError, Headers, head_and_body};
use super::model::{Category, Invalid, Origin, Placeholder, check_fields};
use super::multipart::{is_boundary, scan};
use super::parameter::Parameterised;
use super::part::{ContentId, Description, ONCE, Part, ResourceRef, is_media_type};
use super::structure::{Multipart, Node, Structure, StructureError};
use super::{BCC, CATEGORY, MIME, SIGNATURES, is_ours, transfer};
use crate::limits;

/// Why a message cannot be split. It can still be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// More parts than [`crate::limits::PARTS`] (row M01).
    #[error("the message has more than {} parts", crate::limits::PARTS)]
    TooManyParts,
    /// Deeper than [`crate::limits::PART_DEPTH`] (row M01).
    #[error("the message is nested deeper than {}", crate::limits::PART_DEPTH)]
    TooDeep,
    /// A header that cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A field that stands twice, or an author that is not one.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Parameters that break RFC 2045 or stand twice (row M02).
    #[error("{field}: the parameters are malformed or stand twice")]
    Parameters {
        /// The field.
        field: &'static str,
    },
    /// A transfer encoding that nobody here knows.
    #[error("{0:?} is not a transfer encoding")]
    UnknownEncoding(String),
    /// A body that is not what its transfer encoding says (row M02).
    #[error("a body is not in the {0} that it claims")]
    BadEncoding(&'static str),
}

/// A message without its bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The author's fields, in order: without MIME's, Bcc, signatures of the old form, and Cargomail's.
    pub headers: Headers,
    /// The tree over the bodies.
    pub structure: Structure,
    /// The category that the author's client asked for, if any.
    pub category: Option<Category>,
}

/// One body of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// What it is.
    pub description: Description,
    /// Its octets, transfer encoding undone, character set untouched.
    pub octets: Vec<u8>,
}

/// A message taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What stays.
    pub template: Template,
    /// What becomes resources, in the order of the tree's numbers.
    pub bodies: Vec<Body>,
}

/// Takes an ordinary message apart.
///
/// # Errors
/// [`SplitError`].
pub fn split(message: &[u8]) -> Result<Split, SplitError> {
    let (head, body) = head_and_body(message);
    let mut headers = Headers::read(head)?;
    check_fields(&headers)?.ok_or(Invalid::Missing("From"))?;
    let category = headers
        .first(CATEGORY)
        .and_then(|field| Category::parse(&field.unfolded()).ok());
    let mut entity = headers.clone();
    entity.retain(|field| MIME.iter().any(|name| field.is(name)));
    headers.retain(|field| {
        let goes = MIME
            .iter()
            .chain(&BCC)
            .chain(&SIGNATURES)
            .any(|name| field.is(name));
        !goes && !is_ours(field)
    });
    let (root, bodies) = take_apart(message, Entity::new(entity, place(message, body))?)?;
    let structure = Structure::new(root, bodies.len()).map_err(|error| match error {
        StructureError::TooDeep => SplitError::TooDeep,
        other => SplitError::Invalid(Invalid::Structure(other)),
    })?;
    Ok(Split {
        template: Template {
            headers,
            structure,
            category,
        },
        bodies,
    })
}

/// Where `part`, a slice of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    whole.len() - part.len()..whole.len()
}

/// An entity (RFC 2045 §2.4): what its header says, and where its body stands in the message.
struct Entity {
    fields: Headers,
    content_type: Option<Parameterised>,
    encoding: String,
    content_id: Option<String>,
    body: Range<usize>,
}

/// A multipart's kind, and where its parts stand in the message.
type Children = (Multipart, Vec<Range<usize>>);

impl Entity {
    fn new(fields: Headers, body: Range<usize>) -> Result<Self, SplitError> {
        if let Some(name) = fields.duplicate(&ONCE) {
            return Err(Invalid::Duplicate(name.to_owned()).into());
        }
        let content_type = match fields.first("Content-Type") {
            None => None,
            Some(field) => Some(
                Parameterised::read(&field.unfolded())
                    .filter(is_media_type)
                    .ok_or(SplitError::Parameters {
                        field: "Content-Type",
                    })?,
            ),
        };
        let encoding = match fields.first("Content-Transfer-Encoding") {
            None => "7bit".to_owned(),
            Some(field) => Parameterised::read(&field.unfolded())
                .ok_or(SplitError::Parameters {
                    field: "Content-Transfer-Encoding",
                })?
                .value
                .to_ascii_lowercase(),
        };
        let content_id = fields
            .first("Content-ID")
            .map(|field| identifier(&field.unfolded()).to_owned());
        Ok(Self {
            fields,
            content_type,
            encoding,
            content_id,
            body,
        })
    }

    fn is_identity(&self) -> bool {
        matches!(self.encoding.as_str(), "7bit" | "8bit" | "binary")
    }

    /// The kind and the parts of a multipart that becomes a node of the tree.
    fn children(&self, message: &[u8], limit: usize) -> Result<Option<Children>, SplitError> {
        let Some((kind, content_type)) = self.multipart() else {
            return Ok(None);
        };
        if !self.is_identity() {
            return Err(SplitError::BadEncoding("multipart"));
        }
        if content_type.is_disguised("boundary") {
            return Err(SplitError::Parameters {
                field: "Content-Type",
            });
        }
        let (Some(kind), Some(boundary)) = (kind, content_type.plain("boundary")) else {
            return Ok(None);
        };
        if !is_boundary(boundary) {
            return Ok(None);
        }
        let body = message.get(self.body.clone()).unwrap_or_default();
        let found = scan(body, boundary, limit);
        if found.parts.len() > limit {
            return Err(SplitError::TooManyParts);
        }
        if !found.closed || found.doubtful || found.parts.is_empty() {
            return Ok(None);
        }
        let base = self.body.start;
        let parts: Vec<_> = found
            .parts
            .iter()
            .map(|part| base + part.start..base + part.end)
            .collect();
        let start = content_type.plain("start").map(identifier);
        if kind == Multipart::Related
            && start.is_some()
            && start != first_id(message, parts.first())?.as_deref()
        {
            return Ok(None); // the root is not the first part, which a structure cannot say
        }
        Ok(Some((kind, parts)))
    }

    /// The kind, when the entity is a multipart: none inside for those that a structure does not know.
    fn multipart(&self) -> Option<(Option<Multipart>, &Parameterised)> {
        let content_type = self.content_type.as_ref()?;
        let (kind, subtype) = content_type.value.split_once('/')?;
        kind.eq_ignore_ascii_case("multipart")
            .then(|| (Multipart::named(subtype), content_type))
    }

    fn into_body(self, message: &[u8]) -> Result<Body, SplitError> {
        let raw = message.get(self.body.clone()).unwrap_or_default();
        let octets = match self.encoding.as_str() {
            _ if self.is_identity() => raw.to_vec(),
            "base64" => transfer::base64(raw).ok_or(SplitError::BadEncoding("base64"))?,
            "quoted-printable" => {
                transfer::quoted_printable(raw).ok_or(SplitError::BadEncoding("quoted-printable"))?
            }
            other => return Err(SplitError::UnknownEncoding(other.chars().take(64).collect())),
        };
        let content_id = self.content_id.map_or(ContentId::Absent, ContentId::Own);
        let mut fields = self.fields;
        fields.retain(|field| {
            let goes = ["Content-Transfer-Encoding", "Content-ID", "MIME-Version"]
                .iter()
                .any(|name| field.is(name));
            !goes && !is_ours(field)
        });
        let description = Description::read(fields, content_id);
        description.check()?;
        Ok(Body { description, octets })
    }
}

/// What stands between the angle brackets.
fn identifier(text: &str) -> &str {
    text.strip_prefix('<')
        .and_then(|id| id.strip_suffix('>'))
        .unwrap_or(text)
}

fn first_id(message: &[u8], part: Option<&Range<usize>>) -> Result<Option<String>, SplitError> {
    let part = part
        .and_then(|part| message.get(part.clone()))
        .unwrap_or_default();
    let fields = Headers::read(head_and_body(part).0)?;
    Ok(fields
        .first("Content-ID")
        .map(|field| identifier(&field.unfolded()).to_owned()))
}

/// Walks the tree with a stack of its own: a hostile message decides how deep it is, not how deep we recurse.
fn take_apart(message: &[u8], root: Entity) -> Result<(Node, Vec<Body>), SplitError> {
    let mut bodies = Vec::new();
    let mut open: Vec<(Multipart, Vec<Node>, std::vec::IntoIter<Range<usize>>)> = Vec::new();
    let mut seen = 1_usize;
    let mut next = Some(root);
    loop {
        let done = if let Some(entity) = next.take() {
            match entity.children(message, limits::PARTS.saturating_sub(seen))? {
                Some((kind, parts)) => {
                    if open.len() >= limits::PART_DEPTH {
                        return Err(SplitError::TooDeep);
                    }
                    seen += parts.len();
                    open.push((kind, Vec::with_capacity(parts.len()), parts.into_iter()));
                    None
                }
                None => {
                    bodies.push(entity.into_body(message)?);
                    Some(Node::Part(bodies.len() - 1))
                }
            }
        } else {
            open.pop()
                .map(|(kind, children, _)| Node::Multipart(kind, children))
        };
        match (done, open.last_mut()) {
            (Some(root), None) => return Ok((root, bodies)),
            (Some(node), Some((_, children, _))) => children.push(node),
            (None, _) => {}
        }
        if let Some(part) = open.last_mut().and_then(|(_, _, parts)| parts.next()) {
            let (head, body) = head_and_body(message.get(part.clone()).unwrap_or_default());
            let body = part.end - body.len()..part.end;
            next = Some(Entity::new(Headers::read(head)?, body)?);
        }
    }
}

impl Template {
    /// The placeholder, once each body is stored: `parts` in the order of [`Split::bodies`]. Message-ID and Date
    /// must have been added to the headers when the author's client left them out.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn into_placeholder(
        self,
        origin: Origin,
        category: Category,
        parts: Vec<(Description, ResourceRef)>,
    ) -> Result<Placeholder, Invalid> {
        let part = |(description, resource)| Part {
            resource,
            description,
        };
        Placeholder::new(
            origin,
            category,
            self.headers,
            self.structure,
            parts.into_iter().map(part).collect(),
        )
    }
}

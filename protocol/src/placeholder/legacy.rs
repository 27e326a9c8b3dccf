//! Older ways to write a placeholder, which are read and never written: a digest in place of a CID, and the JSON form of
//! the first prototype.
//!
//! The JSON form is an object of `headers` and `parts`; a part is an object of `headers` and perhaps `parts` again. A
//! value of `headers` is a text, or for an external-body part a list of two: the outer and the real Content-Type. Its
//! tree is the tree of the message, and it names no expiry.

use std::fmt;

use ::cid::Cid;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::header::{Header, Headers};
use super::model::{Invalid, Placeholder};
use super::parameter::Parameterised;
use super::parse::{Broken, Found, external, read};
use super::structure::{Multipart, Node, Structure, StructureError};
use super::{ORIGIN, STRUCTURE};
use crate::dag::{Codec, cid};
use crate::limits;

/// The resource that a Content-ID names, and its digest where that is the digest of the whole resource by its form.
pub(super) fn reference(content_id: &str) -> Option<(Cid, Option<[u8; 32]>)> {
    let id = content_id.strip_prefix('<')?.strip_suffix('>')?;
    let id = id.split('@').next().unwrap_or_default();
    let digest = match id.len() {
        64 => hex_digest(id),
        43 => data_encoding::BASE64URL_NOPAD
            .decode(id.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok()),
        _ => None,
    };
    if let Some(digest) = digest {
        return Some((Codec::Raw.cid(digest), Some(digest)));
    }
    cid::from_text(id).ok().map(|cid| (cid, None))
}

/// 64 hexadecimal digits in any case.
pub(super) fn hex_digest(text: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.as_bytes())
        .ok()?
        .try_into()
        .ok()
}

/// A decimal number.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Whether the octets look like an object of JSON and not like a message.
pub(super) fn is_json(octets: &[u8]) -> bool {
    let inner = octets
        .trim_ascii()
        .strip_prefix(b"{")
        .and_then(|rest| rest.strip_suffix(b"}"));
    inner.is_some_and(|inner| matches!(inner.trim_ascii_start().first(), None | Some(b'"')))
}

/// Reads the JSON form. `Ok(None)` when it is JSON of something else.
pub(super) fn parse_json(message: &[u8]) -> Result<Option<Placeholder>, Broken> {
    if message.len() > limits::PLACEHOLDER {
        return Err(Broken::TooLarge);
    }
    // the depth is bounded by the parser, which refuses more than 128 levels
    let Ok(entity) = serde_json::from_slice::<Entity>(message) else {
        return Err(Broken::Json);
    };
    let mut fields = Headers::new();
    for (name, value) in &entity.headers.0 {
        match value {
            Value::One(text) if name.eq_ignore_ascii_case(STRUCTURE) => return Err(twofold(text)),
            Value::One(text) => fields.push(Header::new(name, text)?),
            Value::Many(_) => return Err(Broken::Json),
        }
    }
    if fields.first(ORIGIN).is_none() {
        return Ok(None);
    }
    let mut walk = Walk::default();
    let root = walk.tree(entity)?;
    let structure = Structure::new(root, walk.found.count())?;
    fields.push(Header::folded(STRUCTURE, &structure.to_string())?);
    read(fields, walk.found).map(Some)
}

/// The tree of the JSON is the structure; a field that says it again could say something else.
fn twofold(_: &str) -> Broken {
    Invalid::Duplicate(STRUCTURE.to_owned()).into()
}

#[derive(Deserialize)]
struct Entity {
    headers: Fields,
    #[serde(default)]
    parts: Option<Vec<Entity>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    One(String),
    Many(Vec<String>),
}

/// An object whose names are all different, in any case, in order.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("header fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut out: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if out.len() >= 256 || out.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                        return Err(A::Error::custom("too many header fields, or one stands twice"));
                    }
                    out.push((name, value));
                }
                Ok(Fields(out))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[derive(Default)]
struct Walk {
    found: Found,
}

impl Walk {
    /// The node of an entity and all below it, with a stack of its own.
    fn tree(&mut self, root: Entity) -> Result<Node, Broken> {
        let mut open: Vec<(Multipart, Vec<Node>, std::vec::IntoIter<Entity>)> = Vec::new();
        let mut next = Some(root);
        loop {
            let done = match next.take() {
                Some(Entity {
                    headers,
                    parts: Some(parts),
                }) => {
                    if open.len() >= limits::PART_DEPTH {
                        return Err(StructureError::TooDeep.into());
                    }
                    open.push((multipart(&headers)?, Vec::new(), parts.into_iter()));
                    None
                }
                Some(Entity { headers, parts: None }) => Some(self.leaf(&headers)?),
                None => open
                    .pop()
                    .map(|(kind, children, _)| Node::Multipart(kind, children)),
            };
            match (done, open.last_mut()) {
                (Some(node), None) => return Ok(node),
                (Some(node), Some((_, children, _))) => children.push(node),
                (None, _) => {}
            }
            next = open.last_mut().and_then(|(_, _, parts)| parts.next());
        }
    }

    fn leaf(&mut self, headers: &Fields) -> Result<Node, Broken> {
        let number = self.found.count() + 1;
        if number > limits::RESOURCES {
            return Err(Broken::TooManyParts);
        }
        let broken = |what| Broken::Part { part: number, what };
        let mut outer = None;
        let mut phantom = Headers::new();
        for (name, value) in &headers.0 {
            match value {
                Value::One(text) => phantom.push(Header::new(name, text)?),
                Value::Many(two) => match two.as_slice() {
                    [first, real] if name.eq_ignore_ascii_case("Content-Type") => {
                        outer = Some(first);
                        phantom.push(Header::new(name, real)?);
                    }
                    _ => return Err(Broken::Json),
                },
            }
        }
        let outer = outer.ok_or_else(|| broken("its content is not external"))?;
        let value = Parameterised::read(outer).ok_or(Broken::Parameters {
            field: "Content-Type",
        })?;
        if !value.value.eq_ignore_ascii_case("message/external-body") {
            return Err(broken("its content is not external"));
        }
        self.found.take(external(&value, phantom, number)?);
        Ok(Node::Part(number - 1))
    }
}

fn multipart(headers: &Fields) -> Result<Multipart, Broken> {
    let named = headers
        .0
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
    let Some((_, Value::One(text))) = named else {
        return Err(Broken::NotMixed);
    };
    let value = Parameterised::read(text).ok_or(Broken::Parameters {
        field: "Content-Type",
    })?;
    let subtype = value
        .value
        .split_once('/')
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("multipart"));
    let subtype = subtype.map(|(_, subtype)| subtype).ok_or(Broken::NotMixed)?;
    let unknown = || StructureError::UnknownMultipart(subtype.chars().take(64).collect());
    Multipart::named(subtype)
        .ok_or_else(unknown)
        .map_err(Broken::from)
}

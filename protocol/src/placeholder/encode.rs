//! Writing a placeholder, strictly: the same placeholder always gives the same octets.

use sha2::{Digest, Sha256};

use super::explain::explain;
use super::header::{Header, HeaderError};
use super::model::{Invalid, Placeholder};
use super::parameter::Parameterised;
use super::part::{ContentId, Part};
use super::transfer::{TransferEncoder, TransferEncoding};
use super::{CATEGORY, CONTENT_ID, DESTINATION, ORIGIN, STRUCTURE};
use crate::limits;

/// The one access type that is written.
pub(super) const ACCESS_TYPE: &str = "content-addressed-uri";

pub(super) fn encode(placeholder: &Placeholder) -> Result<Vec<u8>, Invalid> {
    let explanation = explain(placeholder);
    let mut parts = Vec::with_capacity(placeholder.parts.len() * 512);
    let boundary = boundary(
        &[placeholder.message_id.as_bytes(), explanation.as_bytes()],
        &placeholder.parts,
    );
    for part in &placeholder.parts {
        parts.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
        write_part(part, &mut parts)?;
    }
    let mut out = Vec::with_capacity(parts.len() + explanation.len() + 2048);
    for field in placeholder.headers.iter().chain(&own_fields(placeholder)?) {
        field.write(&mut out);
    }
    Header::folded("MIME-Version", "1.0")?.write(&mut out);
    Parameterised::new("multipart/mixed")
        .with("boundary", &boundary)
        .header("Content-Type")?
        .write(&mut out);
    let head = out.len();
    out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
    write_text(&explanation, &mut out);
    out.extend_from_slice(&parts);
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    if head > limits::HEADERS || out.len() > limits::PLACEHOLDER {
        return Err(Invalid::TooLarge);
    }
    Ok(out)
}

fn own_fields(placeholder: &Placeholder) -> Result<Vec<Header>, Invalid> {
    let expires = placeholder.origin.expires.ok_or(Invalid::NoExpiry)?;
    let origin = format!(
        "{}; expiration=\"{}\"",
        placeholder.origin.locator,
        expires.rfc5322()
    );
    let mut fields = vec![
        Header::folded(ORIGIN, &origin)?,
        Header::folded(CATEGORY, placeholder.category.as_str())?,
        Header::folded(STRUCTURE, &placeholder.structure.to_string())?,
    ];
    if let Some(destination) = &placeholder.destination {
        fields.push(Header::folded(DESTINATION, destination.as_str())?);
    }
    Ok(fields)
}

/// The explanation, in 7 bit.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let plain = text.is_ascii();
    let (charset, encoding) = if plain {
        ("us-ascii", "7bit")
    } else {
        ("utf-8", "quoted-printable")
    };
    out.extend_from_slice(
        format!(
            "Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\
             Content-Disposition: inline\r\n\r\n"
        )
        .as_bytes(),
    );
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut encoder = TransferEncoder::new(TransferEncoding::QuotedPrintable);
    encoder.write(text.as_bytes(), out);
    encoder.finish(out);
}

/// One external-body part: its own header, an empty line, the phantom header. The body that would follow is elsewhere.
fn write_part(part: &Part, out: &mut Vec<u8>) -> Result<(), HeaderError> {
    let mut outer = Parameterised::new("message/external-body")
        .with("access-type", ACCESS_TYPE)
        .with("hash-algorithm", "sha256")
        .with("size", part.resource.size.to_string());
    if let Some(sha256) = &part.resource.sha256 {
        outer = outer.with("sha256", data_encoding::HEXLOWER.encode(sha256));
    }
    outer.header("Content-Type")?.write(out);
    out.extend_from_slice(b"\r\n");
    part.description
        .fields()
        .iter()
        .for_each(|field| field.write(out));
    Header::folded("Content-ID", &format!("<{}>", part.resource.cid))?.write(out);
    match part.description.content_id() {
        ContentId::Cid => {}
        ContentId::Own(id) => Header::folded(CONTENT_ID, &format!("<{id}>"))?.write(out),
        ContentId::Absent => Header::folded(CONTENT_ID, "none")?.write(out),
    }
    Ok(())
}

/// A boundary that nobody can have written into what it separates: it is a hash over it. `=_` stands in neither base64
/// nor quoted-printable (RFC 2045 §6.7).
pub(super) fn boundary(salt: &[&[u8]], parts: &[Part]) -> String {
    let mut hash = Sha256::new();
    for piece in salt {
        hash.update(u64::try_from(piece.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(piece);
    }
    for part in parts {
        hash.update(part.resource.cid.to_bytes());
        let mut fields = Vec::new();
        part.description
            .fields()
            .iter()
            .for_each(|field| field.write(&mut fields));
        hash.update(&fields); // the name of a field may begin with two hyphens
    }
    let digest = hash.finalize();
    format!(
        "=_{}",
        data_encoding::HEXLOWER.encode(digest.get(..16).unwrap_or_default())
    )
}

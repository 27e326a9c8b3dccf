//! Giving the author's message back: the same fields, the same tree, and each body octet for octet.

use super::SIGNATURES;
use super::encode::boundary;
use super::model::Placeholder;
use super::part::ContentId;
use super::structure::{Multipart, Node};
use super::transfer::TransferEncoding;

/// A piece of a message that is written piece by piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Octets to write as they are.
    Bytes(Vec<u8>),
    /// The octets of the part at `index` (from 0), through a [`super::TransferEncoder`] of this encoding.
    Resource {
        /// The part, counted from 0.
        index: usize,
        /// How to write its octets.
        encoding: TransferEncoding,
    },
}

pub(super) fn reconstruct(placeholder: &Placeholder) -> Vec<Piece> {
    let mut writer = Writer {
        placeholder,
        pieces: Vec::new(),
        bytes: Vec::new(),
        multiparts: 0,
    };
    for field in placeholder
        .headers
        .iter()
        .filter(|field| !SIGNATURES.iter().any(|name| field.is(name)))
    {
        field.write(&mut writer.bytes);
    }
    writer.text("MIME-Version: 1.0\r\n");
    match placeholder.structure.root() {
        Node::Multipart(_, children) if children.is_empty() => {
            writer.text("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        }
        root => writer.node(root),
    }
    writer.flush();
    writer.pieces
}

struct Writer<'p> {
    placeholder: &'p Placeholder,
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    multiparts: u64,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.pieces.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        }
    }

    /// Recursion as deep as the tree, which is bounded.
    fn node(&mut self, node: &Node) {
        match node {
            Node::Part(index) => self.part(*index),
            Node::Multipart(kind, children) => self.multipart(*kind, children),
        }
    }

    fn multipart(&mut self, kind: Multipart, children: &[Node]) {
        self.multiparts += 1;
        let salt = [
            self.placeholder.message_id.as_bytes(),
            &self.multiparts.to_be_bytes(),
        ];
        let boundary = boundary(&salt, &self.placeholder.parts);
        self.text(&format!(
            "Content-Type: multipart/{};\r\n boundary=\"{boundary}\"",
            kind.name()
        ));
        if kind == Multipart::Related {
            self.text(&format!(";\r\n type=\"{}\"", self.media_type(children.first())));
        }
        self.text("\r\n");
        for child in children {
            self.text(&format!("\r\n--{boundary}\r\n"));
            self.node(child);
        }
        self.text(&format!("\r\n--{boundary}--\r\n"));
    }

    /// RFC 2387 §3.1: a related names the type of its root.
    fn media_type(&self, node: Option<&Node>) -> String {
        match node {
            Some(Node::Multipart(kind, _)) => format!("multipart/{}", kind.name()),
            Some(Node::Part(index)) => self
                .placeholder
                .parts
                .get(*index)
                .map_or_else(|| "text/plain".to_owned(), |part| part.description.media_type()),
            None => "text/plain".to_owned(),
        }
    }

    fn part(&mut self, index: usize) {
        let Some(part) = self.placeholder.parts.get(index) else {
            return;
        };
        part.description
            .fields()
            .iter()
            .for_each(|field| field.write(&mut self.bytes));
        let encoding = TransferEncoding::suited_to(&part.description.media_type());
        self.text(&format!("Content-Transfer-Encoding: {}\r\n", encoding.name()));
        let id = match part.description.content_id() {
            ContentId::Cid => Some(part.resource.cid.to_string()),
            ContentId::Own(id) => Some(id.clone()),
            ContentId::Absent => None,
        };
        if let Some(id) = id {
            self.text(&format!("Content-ID: <{id}>\r\n"));
        }
        self.bytes.extend_from_slice(b"\r\n");
        self.flush();
        self.pieces.push(Piece::Resource { index, encoding });
    }
}

//! The author's references from HTML to images: `cid:<file name>` becomes `cid:<CID>`.
//!
//! HTML is not parsed: a reference is what stands behind `cid:` and is the name of one of the images, as it is or
//! percent-encoded. What always holds: an image that is not referred to, and a quoted reference to nothing, are told to the author.

use std::path::PathBuf;

use cargomail_protocol::fault::{Fault, Faulty};
use cargomail_protocol::placeholder::Part;

use crate::app::session::percent_encoded;

/// An image and the HTML do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The HTML has no place for the image.
    #[error("the HTML does not refer to {0:?}: write <img src=\"cid:{0}\">, or send it as a file")]
    Unused(String),
    /// There are images and no HTML.
    #[error("inline images need HTML that refers to them: add --html, or send them as files")]
    NoHtml,
    /// The HTML refers to an image that is not there.
    #[error("the HTML refers to cid:{0}, which is none of the inline images: add it with --inline")]
    Missing(String),
    /// Two images have the same name, so that a reference could mean either.
    #[error("two inline images are called {0:?}: rename one")]
    Twice(String),
}

impl Faulty for ReferenceError {
    fn fault(&self) -> Fault {
        Fault::Malformed
    }
}

/// A place in the HTML that names something.
struct Reference {
    /// Where what stands behind `cid:` begins.
    start: usize,
    /// Where it ends.
    end: usize,
    /// Which image.
    image: usize,
}

fn names(inline: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    inline.iter().map(name).collect()
}

/// Checks that HTML and images fit, before anything is posted.
pub(super) fn check(html: Option<&str>, inline: &[PathBuf]) -> Result<(), ReferenceError> {
    let names = names(inline);
    if let Some((at, name)) = names
        .iter()
        .enumerate()
        .find(|(at, name)| names.iter().take(*at).any(|other| other == *name))
    {
        debug_assert!(at > 0);
        return Err(ReferenceError::Twice(name.clone()));
    }
    let Some(html) = html else {
        return if names.is_empty() {
            Ok(())
        } else {
            Err(ReferenceError::NoHtml)
        };
    };
    let references = references(html, &names)?;
    for (index, name) in names.into_iter().enumerate() {
        if !references.iter().any(|reference| reference.image == index) {
            return Err(ReferenceError::Unused(name));
        }
    }
    Ok(())
}

/// The HTML with each reference to an image by its name replaced by one by its CID.
pub(super) fn referring(html: &str, inline: &[PathBuf], parts: &[Part]) -> Result<String, ReferenceError> {
    let mut out = String::with_capacity(html.len() + 64 * parts.len());
    let mut from = 0;
    for reference in references(html, &names(inline))? {
        out.push_str(html.get(from..reference.start).unwrap_or_default());
        if let Some(part) = parts.get(reference.image) {
            out.push_str(&part.resource.cid.to_string());
        }
        from = reference.end;
    }
    out.push_str(html.get(from..).unwrap_or_default());
    Ok(out)
}

fn references(html: &str, names: &[String]) -> Result<Vec<Reference>, ReferenceError> {
    let mut forms: Vec<(usize, String)> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        forms.push((index, name.clone()));
        forms.push((index, percent_encoded(name)));
        forms.push((index, name.replace('&', "&amp;")));
    }
    // The longest first: `a.png` must not be found in `a.png.gif`.
    forms.sort_by_key(|(_, form)| std::cmp::Reverse(form.len()));
    let mut found = Vec::new();
    for (at, _) in html.match_indices("cid:") {
        let start = at + 4;
        let behind = html.get(start..).unwrap_or_default();
        let quote = html
            .get(..at)
            .and_then(|before| before.chars().next_back())
            .filter(|c| "\"'".contains(*c));
        if let Some(quote) = quote {
            let reference = behind.split(quote).next().unwrap_or_default();
            let named = forms.iter().find(|(_, form)| form == reference);
            let (image, form) =
                named.ok_or_else(|| ReferenceError::Missing(reference.chars().take(80).collect()))?;
            found.push(Reference {
                start,
                end: start + form.len(),
                image: *image,
            });
        } else if let Some((image, form)) = forms.iter().find(|(_, form)| behind.starts_with(form.as_str())) {
            found.push(Reference {
                start,
                end: start + form.len(),
                image: *image,
            });
        }
    }
    Ok(found)
}

//! Elements of HTML and SVG, in the form that is well-formed XML too.
//!
//! What always holds: an element that is begun is ended, and whatever comes from a mail or a scenario is text, never markup.

use std::fmt::{self, Write};

/// Stands for a character that a page must not hold.
const REPLACED: char = '\u{fffd}';

/// An element with its attributes and what is inside it.
pub(super) struct Element {
    name: &'static str,
    attributes: String,
    inside: String,
}

impl Element {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            attributes: String::new(),
            inside: String::new(),
        }
    }

    /// Of this class of the style sheet.
    pub(super) fn of(name: &'static str, class: &'static str) -> Self {
        Self::new(name).with("class", class)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.push(' ');
        self.attributes.push_str(name);
        self.attributes.push_str("=\"");
        escape(&mut self.attributes, value);
        self.attributes.push('"');
        self
    }

    pub(super) fn text(mut self, text: impl fmt::Display) -> Self {
        escape(&mut self.inside, text);
        self
    }

    /// The program's own text, as it is: a style sheet is not read as markup.
    pub(super) fn raw(mut self, text: &'static str) -> Self {
        self.inside.push_str(text);
        self
    }

    pub(super) fn holding(mut self, other: Element) -> Self {
        put(&mut self.inside, &other);
        self
    }

    pub(super) fn holding_all(self, others: impl IntoIterator<Item = Element>) -> Self {
        others.into_iter().fold(self, Self::holding)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            attributes,
            inside,
        } = self;
        match *name {
            // The only one here that HTML never ends.
            "meta" => write!(f, "<meta{attributes}/>"),
            _ => write!(f, "<{name}{attributes}>{inside}</{name}>"),
        }
    }
}

fn put(out: &mut String, what: impl fmt::Display) {
    write!(out, "{what}").expect("a string takes everything");
}

fn escape(out: &mut String, text: impl fmt::Display) {
    put(out, Escaped(text));
}

/// Text as it stands between tags and in quoted attributes.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                c if is_unwanted(c) => self.0.write_char(REPLACED)?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What neither HTML nor XML may hold, and what turns the direction of the text around it (UAX #9, explicit formatting).
fn is_unwanted(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
        || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

//! The shapes of which the page's pictures are made.

use std::fmt;

use super::markup::Element;
use super::scale::real;

/// Of a letter of 12 pixels, at the most usual.
pub(super) const LETTER: f64 = 6.8;

/// An SVG with its title and description.
pub(super) fn drawing(id: &str, title: &str, about: &str, [width, height]: [f64; 2]) -> Element {
    Element::of("svg", "drawing")
        .with("viewBox", format_args!("0 0 {width} {height}"))
        .with("role", "img")
        .with("aria-labelledby", format_args!("{id}-title {id}-about"))
        .holding(
            Element::new("title")
                .with("id", format_args!("{id}-title"))
                .text(title),
        )
        .holding(
            Element::new("desc")
                .with("id", format_args!("{id}-about"))
                .text(about),
        )
}

pub(super) fn line(class: &'static str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) -> Element {
    Element::of("line", class)
        .with("x1", format_args!("{x1:.1}"))
        .with("y1", format_args!("{y1:.1}"))
        .with("x2", format_args!("{x2:.1}"))
        .with("y2", format_args!("{y2:.1}"))
}

pub(super) fn rectangle(class: &'static str, [x, y]: [f64; 2], [width, height]: [f64; 2]) -> Element {
    Element::of("rect", class)
        .with("x", format_args!("{x:.1}"))
        .with("y", format_args!("{y:.1}"))
        .with("width", format_args!("{:.1}", width.max(0.0)))
        .with("height", format_args!("{height:.1}"))
}

pub(super) fn dot([x, y]: [f64; 2]) -> Element {
    Element::of("circle", "dot")
        .with("cx", format_args!("{x:.1}"))
        .with("cy", format_args!("{y:.1}"))
        .with("r", 3)
}

/// Text whose beginning, middle or end (`start`, `middle`, `end`) is there.
pub(super) fn words(
    class: &'static str,
    anchor: &'static str,
    [x, y]: [f64; 2],
    text: impl fmt::Display,
) -> Element {
    Element::of("text", class)
        .with("text-anchor", anchor)
        .with("x", format_args!("{x:.1}"))
        .with("y", format_args!("{y:.1}"))
        .text(text)
}

/// As much of a text as fits into a width.
pub(super) fn fitted(text: &str, width: f64) -> String {
    let fits = |count: usize| real(count as u64) * LETTER <= width;
    if fits(text.chars().count()) {
        return text.to_owned();
    }
    let mut kept: String = text
        .chars()
        .enumerate()
        .take_while(|(index, _)| fits(index + 2))
        .map(|(_, c)| c)
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_where_they_would_be_covered() {
        assert_eq!(fitted("foo.test", 100.0), "foo.test");
        assert_eq!(fitted("a-very-long-name.test", 70.0), "a-very-lo…");
    }
}

//! A figure, and the table behind it.

use super::palette::style_sheet;
use serde::Serialize;

/// A picture with all that is needed to understand it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its name in links and files.
    pub id: &'static str,
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The picture.
    pub svg: String,
    /// The numbers.
    pub table: Table,
}

/// Numbers in rows; the first cell of each names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// Names of the columns, with units.
    pub header: Vec<String>,
    /// The rows; a cell that is not known is empty.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Columns of these names.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.to_vec());
    }

    /// As CSV.
    pub fn csv(&self) -> String {
        let mut csv = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail, and rows are as long as the header.
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let _ = csv.write_record(row);
        }
        String::from_utf8_lossy(&csv.into_inner().unwrap_or_default()).into_owned()
    }
}

/// A number in a table; empty where it is not known.
pub fn cell(value: Option<f64>) -> String {
    value.map_or(String::new(), |x| match x.abs() {
        0.0 => "0".to_owned(),
        size if (1e-3..1e6).contains(&size) => {
            let digits = (4.0 - size.log10().floor()).clamp(0.0, 7.0) as usize;
            format!("{x:.digits$}")
        }
        _ => format!("{x:.4e}"),
    })
}

impl Figure {
    /// The picture as a part of a page: it scales, and says to those who cannot see it what it shows.
    pub fn inline_svg(&self) -> String {
        self.svg_with("")
    }

    /// The picture as a file of its own.
    pub fn standalone_svg(&self) -> String {
        let style = format!(
            "<style>\nsvg{{background:#FFFFFF}}\n@media screen and (prefers-color-scheme:dark){{svg{{background:#14181D}}}}\n{}</style>\n",
            style_sheet()
        );
        self.svg_with(&style)
    }

    fn svg_with(&self, style: &str) -> String {
        let Some((head, rest)) = self.svg.split_once('>') else {
            return String::new();
        };
        let view_box = head
            .split_once("viewBox=\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or("0 0 1 1", |(view_box, _)| view_box);
        let (id, title, desc) = (self.id, escaped(&self.title), escaped(&self.caption));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"{view_box}\" class=\"chart\" role=\"img\" \
             aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\n\
             <desc id=\"{id}-desc\">{desc}</desc>\n{style}{}",
            rest.trim_start()
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_five_digits_and_unknown_ones_are_empty() {
        let cells = [
            None,
            Some(0.0),
            Some(1.234_567_8),
            Some(-0.012_345_67),
            Some(12345.678),
            Some(1e-7),
        ];
        assert_eq!(
            cells.map(cell),
            ["", "0", "1.2346", "-0.012346", "12346", "1.0000e-7"]
        );
    }

    #[test]
    fn a_table_is_csv_that_is_read_again() {
        let mut table = Table::new(["run", "J"]);
        table.push(["a, \"b\"".to_owned(), "1".to_owned()]);
        assert_eq!(table.csv(), "run,J\n\"a, \"\"b\"\"\",1\n");
    }

    #[test]
    fn a_picture_says_what_it_shows_and_markup_in_it_is_text() {
        let figure = Figure {
            id: "x",
            title: "a < b".to_owned(),
            caption: "c & d".to_owned(),
            svg: "<svg width=\"2\" height=\"1\" viewBox=\"0 0 2 1\" xmlns=\"x\">\n<g/></svg>".to_owned(),
            table: Table::default(),
        };
        let svg = figure.inline_svg();
        assert!(
            svg.contains("<title id=\"x-title\">a &lt; b</title>") && svg.contains("c &amp; d"),
            "{svg}"
        );
        assert!(
            svg.contains("viewBox=\"0 0 2 1\"") && !svg.contains("width=\"2\""),
            "{svg}"
        );
        assert!(figure.standalone_svg().contains("prefers-color-scheme"));
    }
}
